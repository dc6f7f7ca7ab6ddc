"""Read what a node answers of blocks and tokens; what is odd is asked again, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from glisk.clients.chain_answers import ok
from glisk.clients.rpc import VENDOR, RevertError
from glisk.errors import TransientError

RawLog = dict[str, Any]


@dataclass(frozen=True)
class BlockFacts:
    number: int
    block_hash: str
    timestamp: int  # unix seconds


@dataclass(frozen=True)
class OnChainToken:
    """What the contract says of one token; `exists` by its owner."""

    token_id: int
    exists: bool
    prompt_author: str  # lower case, as the owner
    owner: str
    revealed: bool
    uri: str


@dataclass(frozen=True)
class Survey:
    """The chain at one moment, in one round trip; a block is None if the node does not know it."""

    head: BlockFacts
    next_token_id: int
    blocks: dict[int, BlockFacts | None]


def revealed_ids(log: RawLog) -> list[int]:
    """Return the token ids of a TokensRevealed log; empty if it cannot be read."""
    try:
        data = bytes.fromhex(str(log.get("data")).removeprefix("0x"))
        return [int(token_id) for token_id in decode(["uint256[]"], data)[0]]
    except (DecodingError, ValueError, OverflowError):
        return []


def read_number(value: Any) -> int:
    """Return a quantity or a 32-byte word; raises `TransientError`, also for an empty answer."""
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        got = f"{value!r:.100}"
        raise TransientError(f"chain: expected a number, got {got}", vendor=VENDOR) from None


def read_blocks(numbers: Sequence[int], answers: Sequence[Any]) -> dict[int, BlockFacts | None]:
    """Return the blocks by number, None for one that is not known; raises `ProviderError`."""
    found: dict[int, BlockFacts | None] = {}
    for number, answer in zip(numbers, answers, strict=True):
        block = None if ok(answer) is None else read_block(answer)
        if block is not None and block.number != number:
            raise TransientError("chain: the node gave another block", vendor=VENDOR)
        found[number] = block
    return found


def read_block(block: Any) -> BlockFacts:
    """Return what a block says of itself; raises `TransientError` if it is none."""
    block_hash = block.get("hash") if isinstance(block, dict) else None
    if not isinstance(block_hash, str):
        raise TransientError("chain: the node gave no block", vendor=VENDOR)
    return BlockFacts(
        number=read_number(block.get("number")),
        block_hash=block_hash.lower(),
        timestamp=read_number(block.get("timestamp")),
    )


def read_token(token_id: int, author: Any, revealed: Any, owner: Any, uri: Any) -> OnChainToken:
    """Return a token by the answers to four calls: a revert of `owner` means there is none.

    Raises a `ProviderError` for any other answer that is missing or odd.
    """
    exists = not isinstance(owner, RevertError)
    return OnChainToken(
        token_id=token_id,
        exists=exists,
        prompt_author=_address(ok(author)),
        owner=_address(ok(owner)) if exists else "",
        revealed=read_number(ok(revealed)) == 1,
        uri="" if isinstance(uri, RevertError) else _text(ok(uri)),
    )


def _address(word: Any) -> str:
    return "0x" + f"{read_number(word):040x}"[-40:]


def _text(data: Any) -> str:
    """Return an ABI string; its bytes may be anything, since the contract does not look."""
    try:
        text = decode(["bytes"], bytes.fromhex(str(data).removeprefix("0x")))[0]
    except (DecodingError, ValueError, OverflowError):
        raise TransientError("chain: the node gave no text", vendor=VENDOR) from None
    return bytes(text).decode("utf-8", "replace").replace("\x00", "\ufffd")
