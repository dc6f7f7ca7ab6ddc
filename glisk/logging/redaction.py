"""Remove secrets from any text that leaves the process: logs, stored errors, admin pages.

Two nets: values that the settings register at start (`register_secret`), which are removed
wherever they turn up, and patterns of credentials that may arrive from outside. A 32-byte hex
value is removed only if it is registered, because transaction hashes look exactly like private
keys and must stay readable.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

MASK: Final = "[redacted]"

# A shorter value ("test", "glisk") would blank ordinary words out of every log line.
MIN_SECRET_LENGTH: Final = 8

_HEX_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")

# (text that must occur for the pattern to be worth running, pattern, replacement). The plain
# substring test is what keeps an ordinary log line at about a microsecond.
_PATTERNS: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    ("earer ", re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]{6,}"), rf"\1 {MASK}"),
    ("r8_", re.compile(r"\br8_[A-Za-z0-9]{8,}"), f"r8_{MASK}"),
    ("whsec_", re.compile(r"whsec_[A-Za-z0-9+/=_-]+"), f"whsec_{MASK}"),
    ("eyJ", re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
    ("/v2/", re.compile(r"(alchemy\.com/v2/|alchemyapi\.io/v2/)[^/\s\"'<>)?]+"), rf"\1{MASK}"),
    # Runs up to the last @ before a slash or blank, since passwords may hold an @ themselves.
    ("://", re.compile(r"(://)[^/\s\"'<>?#]+@"), rf"\1{MASK}@"),
    ("inataGatewayToken=", re.compile(r"(?i)(pinataGatewayToken=)[^&\s\"'<>)]+"), rf"\1{MASK}"),
)

# Names under which request headers and settings carry credentials, compared in lower case.
_SECRET_KEYS: Final = frozenset(
    [
        "authorization",
        "cookie",
        "password",
        "private_key",
        "keeper_private_key",
        "pinata_api_key",
        "pinata_secret_api_key",
        "x-alchemy-token",
        "x-pinata-gateway-token",
    ]
)

_PLAIN_TYPES: Final = (bool, int, float, type(None), datetime, date, timedelta, Decimal, UUID)

_MAX_DEPTH: Final = 8

_registered: tuple[str, ...] = ()


def register_secret(value: str | None) -> None:
    """Have `redact_text` remove this value from now on, in every spelling it may take."""
    global _registered
    value = (value or "").strip()
    if len(value) < MIN_SECRET_LENGTH:
        return
    if _HEX_KEY.fullmatch(value):
        bare = value.removeprefix("0x")
        forms = {bare, bare.lower(), bare.upper()}
    else:
        forms = {value, quote(value, safe=""), value.replace("\\", "\\\\").replace('"', '\\"')}
    # Longest first, so that a secret which contains another leaves no tail behind.
    _registered = tuple(sorted({*_registered, *forms}, key=len, reverse=True))


def redact_text(text: str) -> str:
    """Return the text without registered secrets and without anything credential-shaped."""
    for secret in _registered:
        if secret in text:
            text = text.replace(secret, MASK)
    for needle, pattern, replacement in _PATTERNS:
        if needle in text:
            text = pattern.sub(replacement, text)
    return text


def redact_value(value: Any, *, depth: int = 0) -> Any:
    """Return a copy of a nested value with every text in it redacted.

    Objects of unknown type are kept when their `repr` is clean and replaced by the redacted
    `repr` when it is not, since the renderer would print just that.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, _PLAIN_TYPES):
        return value
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    if depth >= _MAX_DEPTH:
        return redact_text(repr(value))
    if isinstance(value, Mapping):
        return {
            redact_value(key, depth=depth + 1): _redact_item(key, item, depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = [redact_value(item, depth=depth + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    shown = repr(value)
    cleaned = redact_text(shown)
    return value if cleaned == shown else cleaned


def _redact_item(key: Any, item: Any, *, depth: int = 0) -> Any:
    if isinstance(key, str) and key.lower() in _SECRET_KEYS and item:
        return MASK
    return redact_value(item, depth=depth)


def redact_processor(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Redact a structlog event in place: keys, nested values and exception text.

    An `exc_info` is formatted here, so that no later step can print the raw exception.
    """
    error = exception_of(event_dict.get("exc_info"))
    if error is not None:
        event_dict["exception"] = "".join(traceback.format_exception(error))
        del event_dict["exc_info"]
    for key, value in event_dict.items():
        if not key.startswith("_"):  # structlog's own bookkeeping (record, logger objects)
            event_dict[key] = _redact_item(key, value)
    return event_dict


def exception_of(exc_info: Any) -> BaseException | None:
    """Return the exception of a record's `exc_info`, whatever its form."""
    if exc_info is True:
        exc_info = sys.exc_info()
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        exc_info = exc_info[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def storable_text(text: str) -> str:
    """Return a text without the NUL bytes and lone surrogates that PostgreSQL refuses.

    JSON can carry both. A row that cannot be saved would end the worker that tries it.
    """
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
