"""Who sends a request, where proxies stand in between, and how many of them one sender may make.

The counting is in glisk.web.request_counts.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from glisk.web.request_counts import network_of, seconds_to_wait

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.views import APIView

_PORT: Final = re.compile(r"^\[(.*)\](?::\d+)?$|^([^:]*):\d+$")  # some proxies add the port


class SignedRequestThrottle(BaseThrottle):
    """Bound the signed requests of one IP address over all endpoints, right or wrong."""

    def __init__(self) -> None:
        self._wait: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        self._wait = seconds_to_wait(
            scope="ip",
            subject=network_of(sender_address(request)),
            limit=settings.SIGNED_REQUESTS_PER_MINUTE,
            window=timedelta(minutes=1),
        )
        return self._wait is None

    def wait(self) -> float | None:
        return self._wait


def sender_address(request: HttpRequest | Request) -> str:
    """Return the address of the first machine, seen from here, that is none of our proxies.

    Each proxy adds to the right of X-Forwarded-For whom it heard. So the header is believed from
    the right, and only as far as those who wrote it stand in TRUSTED_PROXIES: what a visitor made
    up stands left of that.
    """
    sender: str = request.META.get("REMOTE_ADDR", "")
    heard = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while heard and _is_trusted(sender):
        named = _PORT.sub(r"\1\2", heard.pop().strip())
        if _address(named) is None:
            break
        sender = named
    return sender


def _is_trusted(address: str) -> bool:
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in settings.TRUSTED_PROXIES)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
