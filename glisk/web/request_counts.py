"""Limits on requests, counted in the database: they hold over all web processes.

One statement per request; a window begins with its first request. Who sent it is stored as a
keyed hash only.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Final

from django.db import connection
from django.utils import timezone
from django.utils.crypto import salted_hmac

from glisk.models import RequestCount

_COUNT: Final = """
INSERT INTO request_counts AS counts (key, count, ends_at)
VALUES (%(key)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN counts.ends_at <= clock_timestamp() THEN 1 ELSE counts.count + 1 END,
    ends_at = CASE WHEN counts.ends_at <= clock_timestamp()
                   THEN EXCLUDED.ends_at ELSE counts.ends_at END
RETURNING count, greatest(extract(epoch FROM ends_at - clock_timestamp()), 0)::float
"""


def seconds_to_wait(*, scope: str, subject: str, limit: int, window: timedelta) -> float | None:
    """Count one request of a subject; return None if it is within the limit.

    Otherwise the seconds until the window ends. A limit of 0 counts nothing.
    """
    if limit == 0:
        return None
    key = salted_hmac(f"request_counts:{scope}", subject, algorithm="sha256").hexdigest()
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"key": key, "seconds": window.total_seconds()})
        count, seconds = cursor.fetchone()
    return float(seconds) if count > limit else None


def network_of(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


def purge_request_counts() -> int:
    """Delete the counts of windows that are over; return how many."""
    return RequestCount.objects.filter(ends_at__lt=timezone.now()).delete()[0]
