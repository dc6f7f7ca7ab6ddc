"""What the templates of the admin's pages use: durations."""

from datetime import datetime

from django.template import Library

from glisk.admin.formatting import duration

register = Library()


@register.filter
def since(moment: datetime | None, now: datetime) -> str:
    """Return the time from a moment until now, as in `12 min`."""
    return "" if moment is None else duration((now - moment).total_seconds())
