"""Who may read what /metrics and the health pages tell of money and keys.

Either the bearer of METRICS_TOKEN, or a machine in METRICS_NETWORKS. The sender's address counts
only where it is sure: a request that came through a proxy is that proxy's at first sight, and
whoever stands before the proxy is the public.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.utils.crypto import constant_time_compare

from glisk.api.throttling import is_in, sender_named_in

# What proxies add. With one of these a request was passed on, so that its address is a proxy's.
_PASSED_ON: Final = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_FORWARDED",
    "HTTP_VIA",
)


def may_read(meta: Mapping[str, Any]) -> bool:
    """Tell it of a request by its WSGI environment (`request.META`)."""
    return _has_token(meta.get("HTTP_AUTHORIZATION", "")) or _is_internal(meta)


def _has_token(authorization: str) -> bool:
    """Tell whether it is `Bearer` and METRICS_TOKEN; an empty setting is nobody's."""
    scheme, _, given = authorization.partition(" ")
    wanted = settings.METRICS_TOKEN
    if not wanted or scheme.lower() != "bearer":
        return False
    return constant_time_compare(given.strip(), wanted)


def _is_internal(meta: Mapping[str, Any]) -> bool:
    peer, sender = str(meta.get("REMOTE_ADDR", "")), sender_named_in(meta)
    proxies = settings.TRUSTED_PROXIES
    if is_in(sender, proxies):  # a proxy that does not say for whom it asks
        return False
    if any(meta.get(name) for name in _PASSED_ON) and not is_in(peer, proxies):
        return False
    return is_in(sender, settings.METRICS_NETWORKS)
