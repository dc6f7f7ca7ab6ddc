"""Limits on requests, counted in the database: they hold over all web processes.

One statement per request; a window begins with its first request. Who sent it is stored as a
keyed hash only.
"""

import ipaddress
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

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
_PORT: Final = re.compile(r"^\[(.*)\](?::\d+)?$|^([^:]*):\d+$")  # some proxies add the port


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


def purge_request_counts() -> int:
    """Delete the counts of windows that are over; return how many."""
    return RequestCount.objects.filter(ends_at__lt=timezone.now()).delete()[0]


class _MinuteThrottle(BaseThrottle, ABC):
    scope = ""
    seconds: float | None = None

    @abstractmethod
    def subject_and_limit(self, request: Request) -> tuple[str, int]:
        """Return who is counted, and how many requests of theirs a minute may have."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        subject, limit = self.subject_and_limit(request)
        self.seconds = seconds_to_wait(
            scope=self.scope, subject=subject, limit=limit, window=timedelta(minutes=1)
        )
        if not connection.in_atomic_block:
            connection.close()  # into the pool: the body comes when its sender likes
        return self.seconds is None

    def wait(self) -> float | None:
        return self.seconds


class SignedRequestThrottle(_MinuteThrottle):
    """Bound the signed requests of one IP address over all endpoints, right or wrong."""

    scope = "ip"

    def subject_and_limit(self, request: Request) -> tuple[str, int]:
        return network_of(sender_address(request)), settings.SIGNED_REQUESTS_PER_MINUTE


class OperationsThrottle(_MinuteThrottle):
    """Bound the requests of one user of the operations API over all endpoints."""

    scope = "operations"

    def subject_and_limit(self, request: Request) -> tuple[str, int]:
        return str(request.user.pk), settings.OPERATIONS_REQUESTS_PER_MINUTE


def network_of(address: str) -> str:
    """Return what counts as one sender: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = _address(address)
    if parsed is None:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


def sender_address(request: HttpRequest | Request) -> str:
    """Return the address of the first machine, seen from here, that is none of our proxies."""
    return sender_named_in(request.META)


def sender_named_in(meta: Mapping[str, Any]) -> str:
    """Return the same by a WSGI environment.

    Each proxy adds to the right of X-Forwarded-For whom it heard. So the header is believed from
    the right, and only as far as those who wrote it stand in TRUSTED_PROXIES: what a visitor made
    up stands left of that.
    """
    sender: str = meta.get("REMOTE_ADDR", "")
    heard = meta.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while heard and is_in(sender, settings.TRUSTED_PROXIES):
        named = _PORT.sub(r"\1\2", heard.pop().strip())
        if _address(named) is None:
            break
        sender = named
    return sender


def is_in(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Tell whether a text is an address in one of these networks."""
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
