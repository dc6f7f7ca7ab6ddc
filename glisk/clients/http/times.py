"""The times that a reply's headers tell: how long to wait, and when it was sent (RFC 9110)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

_LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None.

    Takes seconds or an HTTP date, which is compared with the reply's own Date header where there
    is one: a wrong clock on either side does no harm. Never negative, at most a day.
    """
    value = headers.get("Retry-After", "").strip()
    try:
        return bounded_seconds(float(value))
    except ValueError:
        due = timestamp(value)
        return None if due is None else seconds_until(due, headers)


def seconds_until(due: float, headers: Mapping[str, str]) -> float | None:
    """Return the seconds until a time (since 1970) by the clock of the reply with these headers."""
    sent = timestamp(headers.get("Date", ""))
    return bounded_seconds(due - (time.time() if sent is None else sent))


def bounded_seconds(seconds: float) -> float | None:
    """Return a vendor's wait as a usable number of seconds, or None if it is not one."""
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def timestamp(value: str) -> float | None:
    """Return an HTTP date in seconds since 1970, or None if it is none."""
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
