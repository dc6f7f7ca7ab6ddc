"""What the value of a variable may look like: prices, hosts, networks, URLs, signing keys."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from urllib.parse import urlsplit

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?"
)
# 1.000 is one to some people and a thousand to others; 0.005 is the same to all.
MISREADABLE = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}")
_PRICE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?(/s)?")


def is_price(value: str) -> bool:
    """Tell whether these are US dollars: 0.003 (an image) or 0.000725/s (a second)."""
    return _PRICE.fullmatch(value) is not None and not MISREADABLE.fullmatch(
        value.removesuffix("/s")
    )


def is_model_price(value: str) -> bool:
    """Tell whether this is a model with its price (owner/name=0.003)."""
    model, _, price = value.rpartition("=")
    return bool(model.strip()) and is_price(price.strip())


def is_host_name(value: str) -> bool:
    return _HOST_NAME.fullmatch(value) is not None


def is_allowed_host(value: str) -> bool:
    """Tell whether Django's ALLOWED_HOSTS may hold this: no scheme, no port."""
    bracketed = value.startswith("[") and value.endswith("]") and ":" in value
    return value == "*" or bracketed or is_host_name(value.removeprefix("."))


def is_host_pattern(value: str) -> bool:
    """Tell whether this names a host, all hosts below one (`*.name`), or one port of a host."""
    host, colon, port = value.removeprefix("*.").partition(":")
    return is_host_name(host) and (not colon or port.isdigit())


def is_network(value: str) -> bool:
    """Tell whether this is an IP address or a network, but not the network of all addresses."""
    try:
        return ipaddress.ip_network(value).prefixlen > 0
    except ValueError:
        return False


def is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_fits


def is_origin(value: str) -> bool:
    return is_http_url(value) and value.count("/") == 2 and "?" not in value


def is_gateway(value: str) -> bool:
    return is_http_url(value) or is_host_pattern(value)


def is_svix_secret(value: str) -> bool:
    """Tell whether this is a signing key as Replicate gives it: whsec_ and base64."""
    if not value.startswith("whsec_"):
        return False
    try:
        return len(base64.b64decode(value.removeprefix("whsec_"), validate=True)) >= 16
    except binascii.Error:
        return False
