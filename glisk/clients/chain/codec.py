"""What is said to a node and what it answers: the contract's ABI, and the JSON of the chain.

Selectors, topics and errors are made once from the ABI: web3.py's contract objects look a function
up at each call (0.2 to 0.6 ms); here its codec encodes the arguments. An odd answer is asked for
again, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from glisk.clients.chain.refusals import VENDOR, RevertError, ok
from glisk.config.addresses import keccak256
from glisk.errors import TransientError

# Of the contract's ABI (solc 0.8.20), what we call and read.
_ABI: Final = json.loads(Path(__file__).with_name("glisk_nft.json").read_text(encoding="ascii"))


@cache
def _codec() -> Any:
    from web3 import Web3  # a second of CPU

    return Web3().codec


def _hashes(kind: str) -> dict[str, str]:
    """Return the hash of each signature (0x and 64 hex digits): an event's topic, by its name."""
    signatures = {
        entry["name"]: f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})"
        for entry in _ABI
        if entry["type"] == kind
    }
    return {name: "0x" + keccak256(text.encode()).hex() for name, text in signatures.items()}


SELECTORS: Final = {name: found[:10] for name, found in _hashes("function").items()}
CUSTOM_ERRORS: Final = {found[:10]: name for name, found in _hashes("error").items()}
MINTED_TOPIC: Final = _hashes("event")["BatchMinted"]
REVEALED_TOPIC: Final = _hashes("event")["TokensRevealed"]
KEEPER_ROLE: Final = keccak256(b"KEEPER_ROLE").hex()
ADMIN_ROLE: Final = "00" * 32

# Solidity's own reverts: https://docs.soliditylang.org/en/v0.8.20/control-structures.html
_ERROR_STRING: Final = "0x08c379a0"
_PANIC: Final = "0x4e487b71"


def word(value: int) -> str:
    return f"{value:064x}"


def encode_reveal(token_ids: Sequence[int], uris: Sequence[str]) -> str:
    """Return the call data of `revealTokens(uint256[], string[])`, hex with 0x."""
    arguments: bytes = _codec().encode(["uint256[]", "string[]"], [list(token_ids), list(uris)])
    return SELECTORS["revealTokens"] + arguments.hex()


def _decode_one(kind: str, data: Any) -> Any:
    """Return the one value that hex data holds, or None if it holds none of this kind."""
    from eth_abi.exceptions import DecodingError

    try:
        return _codec().decode([kind], bytes.fromhex(str(data).removeprefix("0x")))[0]
    except (DecodingError, ValueError, OverflowError):
        return None


def revealed_ids(log: dict[str, Any]) -> list[int]:
    """Return the token ids of a TokensRevealed log; empty if it cannot be read."""
    return list(_decode_one("uint256[]", log.get("data")) or [])


def already_revealed_id(error: RevertError) -> int | None:
    """Return the token id of an AlreadyRevealed(uint256) revert, or None for another one."""
    if CUSTOM_ERRORS.get(error.data[:10]) != "AlreadyRevealed":
        return None
    token_id: int | None = _decode_one("uint256", error.data[10:])
    return token_id


def revert_reason(error: RevertError) -> str:
    """Return what the contract says, in words: `AlreadyRevealed(7)`, a text, a panic."""
    selector, arguments = error.data[:10], error.data[10:]
    if (token_id := already_revealed_id(error)) is not None:
        return f"AlreadyRevealed({token_id})"
    if selector == _ERROR_STRING and (text := _decode_one("string", arguments)) is not None:
        return str(text)
    if selector == _PANIC and (code := _decode_one("uint256", arguments)) is not None:
        return f"Panic(0x{code:02x})"
    unknown = f"unknown error {error.data[:74]}" if error.data else "no reason given"
    return CUSTOM_ERRORS.get(selector, unknown)


# -- what a node answers ------------------------------------------------------------------

RawLog = dict[str, Any]


@dataclass(frozen=True)
class Block:
    number: int
    block_hash: str  # lower case
    timestamp: int  # unix seconds

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


def _odd(wanted: str, got: Any) -> TransientError:
    return TransientError(f"chain: expected {wanted}, got {got!r:.100}", vendor=VENDOR)


def read_number(value: Any) -> int:
    try:
        if value.startswith("0x"):
            return int(value, 16)
    except (AttributeError, ValueError):
        pass
    raise _odd("a number", value)


def number_or_none(value: Any) -> int | None:
    """Return a word; None for the empty answer of an address that has no such function."""
    return None if value == "0x" else read_number(value)


def read_address(value: Any) -> str:
    return "0x" + word(read_number(value))[-40:]


def read_block(block: Any, number: int | None = None) -> Block:
    """Return what a block says of itself; raise `TransientError` if it is not block `number`."""
    if not isinstance(block, dict) or not isinstance(block.get("hash"), str):
        raise _odd("a block", block)
    actual, timestamp = map(read_number, (block.get("number"), block.get("timestamp")))
    if number not in (None, actual):
        raise _odd(f"block {number}", actual)
    return Block(actual, block["hash"].lower(), timestamp)


def read_fee_history(answer: Any, *, l1_fee_per_byte_wei: int) -> FeeHistory:
    try:
        base_fees, rewards = answer["baseFeePerGas"], answer.get("reward") or []
        return FeeHistory(
            next_base_fee_per_gas_wei=read_number(base_fees[-1]),
            priority_fees_wei=tuple(read_number(block[0]) for block in rewards),
            l1_fee_per_byte_wei=l1_fee_per_byte_wei,
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise _odd("a fee history", answer) from None


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
        raise _odd("a receipt", answer) from None


def read_token(token_id: int, author: Any, revealed: Any, owner: Any, uri: Any) -> OnChainToken:
    """Return a token by the answers to four calls: a revert of `owner` means there is none.

    Raises a `ProviderError` for any other answer that is missing or odd.
    """
    exists = not isinstance(owner, RevertError)
    return OnChainToken(
        token_id=token_id,
        exists=exists,
        prompt_author=read_address(ok(author)),
        owner=read_address(ok(owner)) if exists else "",
        revealed=read_number(ok(revealed)) == 1,
        uri="" if isinstance(uri, RevertError) else _read_uri(ok(uri)),
    )


def _read_uri(data: Any) -> str:
    """Return an ABI string; its bytes may be anything, since the contract does not look."""
    text = _decode_one("bytes", data)
    if text is None:
        raise _odd("a text", data)
    return bytes(text).decode("utf-8", "replace").replace("\x00", "\ufffd")
