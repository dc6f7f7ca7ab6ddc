"""`{% quick_rows %}`: the table of a list. `{% rows_below %}`: a table below an object."""

from typing import Any

from django.contrib.admin.helpers import InlineAdminFormSet
from django.contrib.admin.views.main import ChangeList
from django.template import Library

from glisk.admin.rows import draw, draw_inline

register = Library()


@register.inclusion_tag("admin/change_list_results.html")
def quick_rows(cl: ChangeList) -> dict[str, Any]:
    """Draw the rows of a list, by unfold's template of a table."""
    return draw(cl)


@register.inclusion_tag("admin/rows_below.html")
def rows_below(inline: InlineAdminFormSet) -> dict[str, Any]:
    """Draw the rows that belong to the object of the page; nobody edits them there."""
    return draw_inline(inline)
