"""What a node says when it refuses: each provider in its own words, or in none.

Sources: https://docs.alchemy.com/reference/error-reference, geth, reth, anvil (measured), and
public reports. Ranges of `eth_getLogs`:

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
from typing import Any, Final

from glisk.clients.http import ACCOUNT_STATUSES, Fault, Reply
from glisk.errors import (
    AccountError,
    PermanentError,
    ProviderError,
    TransientError,
    is_account_or_rate,
)

VENDOR: Final = "chain"

# Refusals that pass by themselves. The code -32005 means any limit: of logs it is the range's, and
# of a batch its size's, unless the text (in lower case) speaks of the rate.
_RATE_CODES: Final = frozenset({429, -32005, -32016})
_LIMIT_EXCEEDED: Final = -32005
WHOLE_BATCH: Final = "batch"  # stands for the method
_RATE_TEXT: Final = re.compile(
    r"\brate\b|too many requests|request count|per second|compute units|throttl|quota"
)
_ACCOUNT_TEXTS: Final = ("must be authenticated", "monthly capacity", "app is inactive")

_BY_SIZE: Final = re.compile(r"\b(?:response|results?|logs)\b")
_RANGE: Final = re.compile(r"(?:\[|\brange )(0x[0-9a-f]+|\d+)(?:, |-)(0x[0-9a-f]+|\d+)")
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


class RevertError(PermanentError):
    """A call would revert; `data` is the contract's answer: selector and arguments, hex."""

    error_class = "revert"

    def __init__(self, message: str, *, data: str, said: str = "") -> None:
        super().__init__(message, vendor=VENDOR, code="revert", said=said)
        self.data = data


class RpcError(PermanentError):
    """The node refused one call; `rpc_code` is the JSON-RPC code, `said` its text."""

    error_class = "rpc"

    def __init__(self, rpc_code: int, said: str, method: str) -> None:
        text = f"chain: {method} was refused ({rpc_code}): {said}"
        super().__init__(text, vendor=VENDOR, code=str(rpc_code), said=said)
        self.rpc_code = rpc_code


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


def ok(result: Any) -> Any:
    """Return a call's result; raise the error that stands in its place."""
    if isinstance(result, ProviderError):
        raise result
    return result


def read_error(error: Any, method: str) -> ProviderError:
    if not isinstance(error, dict):
        error = {"message": str(error)}
    code, message = error.get("code"), str(error.get("message", ""))
    code = code if isinstance(code, int) else 0
    data = error.get("data")
    if isinstance(data, str) and not data.startswith("0x"):  # some nodes say it there
        message = f"{message}: {data}"
    lowered = message.lower()
    if code == 3 or "execution reverted" in lowered:
        text = f"chain: {method} reverts: {message}"
        return RevertError(text, data=data if isinstance(data, str) else "", said=message)
    of_size = code == _LIMIT_EXCEEDED and method in ("eth_getLogs", WHOLE_BATCH)
    if _RATE_TEXT.search(lowered) or (code in _RATE_CODES and not of_size):
        text = f"chain: rate limit: {message}"
        return TransientError(text, vendor=VENDOR, code="429", rate_limited=True, said=message)
    if any(text in lowered for text in _ACCOUNT_TEXTS):
        text = f"chain: {message}. Check the RPC key."
        return AccountError(text, vendor=VENDOR, code="account", said=message)
    return RpcError(code, message, method)


def read_fault(reply: Reply) -> Fault:
    error = reply.json_object().get("error")
    message = error.get("message") if isinstance(error, dict) else None
    text = message if isinstance(message, str) else reply.excerpt()
    if any(known in text.lower() for known in _ACCOUNT_TEXTS):
        return Fault(text, kind=AccountError)
    if reply.status not in ACCOUNT_STATUSES and _RATE_TEXT.search(text.lower()):
        # nginx says so with 503
        return Fault(text, code="429", kind=TransientError, rate_limited=True)
    return Fault(text)


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
    return any(known in str(error).lower() for known in _BEYOND_HEAD)


def _suggested(text: str) -> int | None:
    blocks = 0
    if found := _RANGE.search(text):
        first, last = (int(edge, 0) for edge in found.groups())
        blocks = last - first + 1
    elif found := _RULE.search(text) or _BLOCKS.search(text):
        blocks = int(found[1].replace(",", ""))
    return blocks if blocks > 0 else None
