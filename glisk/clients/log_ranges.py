"""How providers refuse a range of `eth_getLogs`, each in its own words.

| Provider | Text |
|---|---|
| Alchemy, free | HTTP 400: Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x…, 0x…]. |
| Alchemy, by size | -32602: Log response size exceeded. … this block range should work: [0x…, 0x…] |
| geth, Infura | query returned more than 10000 results (-32005: not a rate limit here) |
| reth, Base | query exceeds max block range 10000; query exceeds max results 20000, retry with the range 100-200 |
| proxies | block range is too wide; exceed maximum block range: 2000; limited to a 10,000 range |
"""  # noqa: E501 - the texts as they come

from __future__ import annotations

import re
from typing import Final

from glisk.clients.rpc import VENDOR
from glisk.errors import AccountError, ProviderError

_TOO_LARGE: Final = (
    "response size exceeded",
    "response too large",
    "response is too big",
    "query returned more than",
    "exceeds max results",
    "too many results",
    "exceeds limit of",
)
_TOO_WIDE: Final = ("block range", "blocks range", "range is too large", "range too large")
_TOO_WIDE_PATTERNS: Final = (
    re.compile(r"limited to (?:a )?[\d,]+ (?:blocks? )?range"),
    re.compile(r"ranges? over [\d,]+ blocks"),
)
_HEX_RANGE: Final = re.compile(r"\[\s*(0x[0-9a-f]+)\s*,\s*(0x[0-9a-f]+)\s*\]", re.IGNORECASE)
_DECIMAL_RANGE: Final = re.compile(r"\brange (\d+)-(\d+)")
_RULE: Final = re.compile(
    r"up to an? ([\d,]+) block range|max(?:imum)? block range:? ([\d,]+)"
    r"|limited to (?:a )?([\d,]+) (?:blocks? )?range|ranges? over ([\d,]+) blocks"
)
_BEYOND_HEAD: Final = (
    "beyond current head",
    "invalid block range",
    "after last",
    "header not found",
    "unknown block",
    "block not found",
)


class RangeTooWideError(ProviderError):
    """The provider answers for fewer blocks only.

    `blocks` is how many it suggests, if it does; `by_size`: this range holds too many logs, which
    says nothing about others.
    """

    error_class = "range_too_wide"

    def __init__(self, message: str, *, blocks: int | None, by_size: bool) -> None:
        super().__init__(message, vendor=VENDOR, code="range_too_wide")
        self.blocks = blocks
        self.by_size = by_size


def as_too_wide(error: ProviderError) -> RangeTooWideError | None:
    """Return the refusal of a range that a smaller one avoids, or None for any other error."""
    if isinstance(error, RangeTooWideError):
        return error
    if isinstance(error, AccountError):
        return None
    text = str(error).lower()
    by_size = any(known in text for known in _TOO_LARGE)
    wide = any(known in text for known in _TOO_WIDE) or any(
        known.search(text) for known in _TOO_WIDE_PATTERNS
    )
    if not by_size and not wide:
        return None
    return RangeTooWideError(str(error), blocks=_suggested(text), by_size=by_size)


def is_beyond_head(error: ProviderError) -> bool:
    """Tell the refusal of a range that ends after the newest block that the node knows."""
    text = str(error).lower()
    return any(known in text for known in _BEYOND_HEAD)


def _suggested(text: str) -> int | None:
    """Return how many blocks the provider names, by an example or by a rule."""
    for pattern, base in ((_HEX_RANGE, 16), (_DECIMAL_RANGE, 10)):
        if found := pattern.search(text):
            blocks = int(found[2], base) - int(found[1], base) + 1
            return blocks if blocks > 0 else None
    if found := _RULE.search(text):
        number = next(group for group in found.groups() if group)
        return int(number.replace(",", "")) or None
    return None
