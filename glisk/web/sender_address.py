"""Whose request this is, where proxies stand between the sender and us."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request

_PORT: Final = re.compile(r"^\[(.*)\](?::\d+)?$|^([^:]*):\d+$")  # some proxies add the port


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
