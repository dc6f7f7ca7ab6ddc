"""What a node's JSON answers say; what is odd is asked again, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from eth_utils.address import to_checksum_address

from glisk.clients.chain.abi import decode_one
from glisk.clients.chain.refusals import VENDOR, RevertError
from glisk.errors import ProviderError, TransientError

RawLog = dict[str, Any]
_END_OF_TIME: Final = 253_402_300_799  # the last second of the year 9999, where datetime ends


@dataclass(frozen=True)
class Block:
    number: int
    block_hash: str  # lower case
    timestamp: int  # unix seconds
    base_fee_per_gas_wei: int = 0

    @property
    def mined_at(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp, tz=UTC)


@dataclass(frozen=True)
class Receipt:
    tx_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    gas_used: int
    effective_gas_price_wei: int
    l1_fee_wei: int | None  # Base charges it on top; a plain node has none
    logs: tuple[RawLog, ...] = ()


@dataclass(frozen=True)
class FeeHistory:
    """Base fee of the next block, and the priority fees paid lately at one percentile, in wei.

    `l1_fee_per_byte_wei`: what each byte of a transaction costs on top, whatever gas it offers.
    """

    next_base_fee_per_gas_wei: int
    priority_fees_wei: tuple[int, ...]
    l1_fee_per_byte_wei: int = 0


@dataclass(frozen=True)
class OnChainToken:
    """What the contract says of one token; `exists` by its owner."""

    token_id: int
    exists: bool
    prompt_author: str  # lower case, as the owner
    owner: str
    revealed: bool
    uri: str


def ok(result: Any) -> Any:
    """Return a batch member's result; raise the error that stands in its place."""
    if isinstance(result, ProviderError):
        raise result
    return result


def odd(wanted: str, got: Any) -> TransientError:
    return TransientError(f"chain: expected {wanted}, got {got!r:.100}", vendor=VENDOR)


def read_number(value: Any) -> int:
    """Return a quantity or a 32-byte word."""
    try:
        if value.startswith("0x"):
            return int(value, 16)
    except (AttributeError, ValueError):
        pass
    raise odd("a number", value)


def number_or_none(value: Any) -> int | None:
    """Return a word; None for the empty answer of an address that has no such function."""
    return None if value == "0x" else read_number(value)


def lower_address(word: Any) -> str:
    """Return the address in a 32-byte word, in lower case."""
    return "0x" + f"{read_number(word):064x}"[-40:]


def checksum_address(word: Any) -> str:
    """Return the address in a 32-byte word, in EIP-55 form."""
    return str(to_checksum_address(lower_address(word)))


def read_block(block: Any, number: int | None = None) -> Block:
    """Return what a block says of itself; raise `TransientError` if it is not block `number`."""
    if not isinstance(block, dict) or not isinstance(block.get("hash"), str):
        raise odd("a block", block)
    found = Block(
        number=read_number(block.get("number")),
        block_hash=block["hash"].lower(),
        timestamp=read_number(block.get("timestamp")),
        base_fee_per_gas_wei=read_number(block.get("baseFeePerGas", "0x0")),
    )
    if number not in (None, found.number):
        raise odd(f"block {number}", found.number)
    if found.timestamp > _END_OF_TIME:
        raise odd("a time", found.timestamp)
    return found


def read_fee_history(answer: Any, *, l1_fee_per_byte_wei: int) -> FeeHistory:
    try:
        base_fees, rewards = answer["baseFeePerGas"], answer.get("reward") or []
        return FeeHistory(
            next_base_fee_per_gas_wei=read_number(base_fees[-1]),
            priority_fees_wei=tuple(read_number(block[0]) for block in rewards),
            l1_fee_per_byte_wei=l1_fee_per_byte_wei,
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise odd("a fee history", answer) from None


def read_receipt(answer: Any) -> Receipt | None:
    """Return a receipt; None for a transaction that is in no block."""
    if answer is None or (isinstance(answer, dict) and answer.get("blockNumber") is None):
        return None
    try:
        l1_fee, logs = answer.get("l1Fee"), answer.get("logs") or []
        return Receipt(
            tx_hash=str(answer["transactionHash"]),
            succeeded=read_number(answer["status"]) == 1,
            block_number=read_number(answer["blockNumber"]),
            block_hash=str(answer["blockHash"]).lower(),
            gas_used=read_number(answer["gasUsed"]),
            effective_gas_price_wei=read_number(answer.get("effectiveGasPrice", "0x0")),
            l1_fee_wei=None if l1_fee is None else read_number(l1_fee),
            logs=tuple(log for log in logs if isinstance(log, dict)),
        )
    except (AttributeError, KeyError, TypeError):
        raise odd("a receipt", answer) from None


def read_token(token_id: int, author: Any, revealed: Any, owner: Any, uri: Any) -> OnChainToken:
    """Return a token by the answers to four calls: a revert of `owner` means there is none.

    Raises a `ProviderError` for any other answer that is missing or odd.
    """
    exists = not isinstance(owner, RevertError)
    return OnChainToken(
        token_id=token_id,
        exists=exists,
        prompt_author=lower_address(ok(author)),
        owner=lower_address(ok(owner)) if exists else "",
        revealed=read_number(ok(revealed)) == 1,
        uri="" if isinstance(uri, RevertError) else _read_text(ok(uri)),
    )


def _read_text(data: Any) -> str:
    """Return an ABI string; its bytes may be anything, since the contract does not look."""
    text = decode_one("bytes", data)
    if text is None:
        raise odd("a text", data)
    return bytes(text).decode("utf-8", "replace").replace("\x00", "\ufffd")
