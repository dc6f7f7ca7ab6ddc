"""Read the values of a node's JSON-RPC answers; what is odd is an error, never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eth_utils.address import to_checksum_address

from glisk.clients.rpc import VENDOR
from glisk.errors import ProviderError


@dataclass(frozen=True)
class Head:
    """The newest block that the node knows."""

    number: int
    block_hash: str
    timestamp: datetime
    base_fee_per_gas_wei: int


def ok(result: Any) -> Any:
    """Return a batch member's result; raise the error that stands in its place."""
    if isinstance(result, ProviderError):
        raise result
    return result


def number(value: Any) -> int:
    """Return a quantity or a 32-byte word as an int; an empty answer is 0."""
    if value == "0x":
        return 0
    try:
        if value.startswith("0x"):
            return int(value, 16)
    except (AttributeError, ValueError):
        pass
    raise odd("a number", value)


def address(word: Any) -> str:
    """Return the address in a 32-byte word, in EIP-55 form."""
    return str(to_checksum_address("0x" + f"{number(word):064x}"[-40:]))


def head(block: Any) -> Head:
    if not isinstance(block, dict):
        raise odd("the newest block", block)
    return Head(
        number=number(block.get("number")),
        block_hash=str(block.get("hash")),
        timestamp=datetime.fromtimestamp(number(block.get("timestamp")), tz=UTC),
        base_fee_per_gas_wei=number(block.get("baseFeePerGas", "0x0")),
    )


def block_hash(block: Any) -> str | None:
    """Return the hash of a block, None if the node does not know it."""
    return str(block.get("hash")) if isinstance(block, dict) else None


def odd(wanted: str, got: Any) -> ProviderError:
    return ProviderError(f"chain: expected {wanted}, got {got!r:.100}", vendor=VENDOR)
