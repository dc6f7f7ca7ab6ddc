"""The rows of the admin's tables, drawn in a fraction of unfold's time.

Unfold renders the headers, a checkbox and a label by templates for each row of a list anew, and
ten templates for each cell below an object: three quarters of a page's time. Here everything that
rows share is made once. A list's HTML is unfold's own (tests/test_admin_rows.py compares them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, InlineAdminFormSet
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.db.models import Field, Model
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import checkbox
from unfold.templatetags.unfold_list import (
    CHECKBOX_CLASSES,
    LINK_CLASSES,
    ROW_CLASSES,
    UnfoldResultList,
    result_headers,
)
from unfold.utils import display_for_field, display_for_label, display_for_value
from unfold.views import ChangeList

_CHECKBOX = "action_checkbox"
_KEY = "the-key-of-the-row"


@dataclass(frozen=True)
class Column:
    """What the cells of a column have in common."""

    name: str
    opening: SafeString
    closing: SafeString
    is_link: bool


def columns(cl: ChangeList, headers: list[dict[str, Any]]) -> list[Column]:
    """Return the columns of a list; the first one that links to its object is the row's head."""
    found: list[Column] = []
    for name, header in zip(cl.list_display, headers, strict=True):
        links = cl.list_display_links or ()
        is_first = not any(column.is_link for column in found)
        is_link = name in links or (links == () and is_first and cl.list_display_links is not None)
        tag = "th" if is_link and is_first else "td"
        classes = CHECKBOX_CLASSES if name == _CHECKBOX else [f"field-{name}", *ROW_CLASSES]
        label = header["text"] if found or is_link else "Select record"
        opening = format_html('<{} class="{}" data-label="{}">', tag, " ".join(classes), label)
        found.append(Column(name, opening, format_html("</{}>", tag), is_link))
    return found


def draw(cl: ChangeList) -> dict[str, Any]:
    """Return what unfold's template of a table needs."""
    headers = list(result_headers(cl))
    shared = columns(cl, headers)
    return {
        "cl": cl,
        "result_headers": headers,
        "num_sorted_fields": sum(bool(header.get("sorted")) for header in headers),
        "results": [UnfoldResultList(row, None, _cells(cl, shared, row)) for row in cl.result_list],
    }


def draw_inline(inline: InlineAdminFormSet) -> dict[str, Any]:
    """Return what the template of rows below an object needs: its columns, and cells per row."""
    owner, formset = inline.opts, inline.formset
    names = [str(name) for name in owner.get_fields(None)]
    return {
        "inline": inline,
        "labels": [label_for_field(name, owner.model, model_admin=owner) for name in names],
        "rows": [[_value(owner, name, row) for name in names] for row in formset.get_queryset()],
    }


def _cells(cl: ChangeList, shared: list[Column], row: Model) -> Iterator[SafeString]:
    for column in shared:
        is_box = column.name == _CHECKBOX
        shown = _checkbox(row.pk) if is_box else _value(cl.model_admin, column.name, row)
        if column.is_link:
            shown = _link(cl, row, shown)
        yield mark_safe(column.opening + shown + column.closing)  # noqa: S308 - all three are


def _value(owner: BaseModelAdmin, name: str, row: Model) -> SafeString:
    field: Field[Any, Any] | None
    field, attribute, value = lookup_field(name, row, owner)
    empty = owner.get_empty_value_display()
    if field is not None:
        return _trimmed(display_for_field(value, field, empty))
    if label := getattr(attribute, "label", False):
        kind = label.get(value) if isinstance(label, dict) else None
        return _label(str(value), None if kind is None else str(kind))
    boolean = getattr(attribute, "boolean", False)
    return _trimmed(display_for_value(value, empty, boolean))


def _trimmed(text: Any) -> SafeString:
    """Return escaped text without the line ends of the templates that icons come from."""
    return mark_safe(conditional_escape(text).strip())  # noqa: S308 - escaped


def _link(cl: ChangeList, row: Model, shown: SafeString) -> SafeString:
    url = cl.url_for_result(row)
    if cl.preserved_filters:
        url = f"{url}?{cl.preserved_filters}"
    return format_html('<a href="{}" class="{}" >{}</a>', url, " ".join(LINK_CLASSES), shown)


@lru_cache(maxsize=200)
def _label(text: str, kind: str | None) -> SafeString:
    """Return a word in its colour; there are as many as there are states."""
    return mark_safe(str(display_for_label(text, "", {text: kind})).strip())  # noqa: S308 - unfold's


def _checkbox(key: Any) -> SafeString:
    return mark_safe(_checkbox_of_a_key().replace(_KEY, conditional_escape(str(key))))  # noqa: S308 - escaped


@lru_cache(maxsize=1)
def _checkbox_of_a_key() -> str:
    return str(checkbox.render(ACTION_CHECKBOX_NAME, _KEY))
