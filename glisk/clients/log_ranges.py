"""How providers refuse a range of `eth_getLogs`: each in its own words, or in none.

| Provider | Refusal |
|---|---|
| Alchemy, free | HTTP 400: … up to a 10 block range. Based on your parameters, this block range should work: [0x…, 0x…]. |
| Alchemy, by size | -32602: Log response size exceeded. … this block range should work: [0x…, 0x…] |
| geth, Infura | query returned more than 10000 results (-32005: not a rate limit here) |
| reth, Base | query exceeds max block range 10000; query exceeds max results 20000, retry with the range 100-200 |
| Coinbase | -32005: please limit the query to at most 1000 blocks |
| others | block range is too wide; limited to a 10,000 range; maximum is set to 2048; exceeds the range allowed for your plan |
| overloaded ones | HTTP 503 or 504, or silence |

The next provider words it anew. So everything but a refusal of the account or the rate may be the
range's fault.
"""  # noqa: E501 - the texts as they come

from __future__ import annotations

import re
from typing import Final

from glisk.clients.rpc import VENDOR
from glisk.errors import ProviderError, TransientError, is_account_or_rate

_BY_SIZE: Final = re.compile(r"\b(?:response|results?|logs)\b")
_HEX_RANGE: Final = re.compile(r"\[\s*(0x[0-9a-f]+)\s*,\s*(0x[0-9a-f]+)\s*\]")
_DECIMAL_RANGE: Final = re.compile(r"\brange (\d+)-(\d+)")
_RULE: Final = re.compile(
    r"(?:max(?:imum)?|most|up to|limit(?:ed)?|over|than|exceeds?|size|set to|only)\b\D{0,40}?"
    r"\b([\d,]*\d)\b(?!\s*(?:results|logs|bytes|[kmg]?b|m?s|seconds)\b)"
)
_BLOCKS: Final = re.compile(r"\b([\d,]*\d) blocks?\b")
_BEYOND_HEAD: Final = (
    "beyond current head",
    "invalid block range",
    "after last",
    "header not found",
    "unknown block",
    "block not found",
)


class RangeTooWideError(ProviderError):
    """The provider does not give these logs; it may give those of fewer blocks.

    `blocks` is how many it suggests, if it does; `by_size`: this range holds too many logs, which
    says nothing about others; `unanswered`: it did not answer at all.
    """

    error_class = "range_too_wide"

    def __init__(
        self, message: str, *, blocks: int | None, by_size: bool, unanswered: bool = False
    ) -> None:
        super().__init__(message, vendor=VENDOR, code="range_too_wide")
        self.blocks = blocks
        self.by_size = by_size
        self.unanswered = unanswered


def as_too_wide(error: ProviderError) -> RangeTooWideError | None:
    """Return the refusal of a range; None for one of the account or the rate."""
    if is_account_or_rate(error):
        return None
    text = (error.said or str(error)).lower()
    unanswered = isinstance(error, TransientError)
    return RangeTooWideError(
        str(error),
        blocks=_suggested(text),
        # "closed connection without response" is not about the size of one.
        by_size=not unanswered and _BY_SIZE.search(text) is not None,
        unanswered=unanswered,
    )


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
    if found := _RULE.search(text) or _BLOCKS.search(text):
        return int(found[1].replace(",", "")) or None
    return None
