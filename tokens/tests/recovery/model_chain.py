"""A chain in memory: mints, reveals, reorgs, and what its logs say of them.

It replaces a real one where thousands of cases are played; tests beside it use a real one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from authors.tests.factories import wallet
from tokens.minting.mint_log import BATCH_MINTED_TOPIC
from tokens.tests.factories import hash32

CONTRACT = wallet(0xC0DE)
GENESIS_TIME = 1_780_000_000


@dataclass(frozen=True)
class Mint:
    minter: str
    author: str
    quantity: int


@dataclass(frozen=True)
class Transaction:
    """Some mints, or a reveal."""

    tx_hash: str
    mints: tuple[Mint, ...] = ()
    revealed: tuple[int, ...] = ()


@dataclass
class Block:
    number: int
    block_hash: str
    transactions: list[Transaction] = field(default_factory=list)

    @property
    def timestamp(self) -> int:
        return GENESIS_TIME + 2 * self.number


@dataclass(frozen=True)
class PlacedMint:
    """A mint as the canonical chain has it."""

    tx_hash: str
    log_index: int
    block: Block
    mint: Mint
    start: int

    @property
    def token_ids(self) -> range:
        return range(self.start, self.start + self.mint.quantity)


class ModelChain:
    def __init__(self) -> None:
        self._counter = itertools.count(1)
        self.blocks = [Block(0, self._hash())]
        self._placed: dict[int, list[PlacedMint]] = {}  # by the newest block that counts

    def _hash(self) -> str:
        return hash32(0xB10C0000 + next(self._counter))

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    def transaction(self, *mints: Mint, revealed: Sequence[int] = ()) -> Transaction:
        return Transaction(self._hash(), mints, tuple(revealed))

    def mine(self, *transactions: Transaction) -> Block:
        block = Block(self.head.number + 1, self._hash(), list(transactions))
        self.blocks.append(block)
        self._placed.clear()
        return block

    def mine_empty(self, count: int) -> None:
        for _ in range(count):
            self.mine()

    def reorg(self, depth: int, blocks: Sequence[Sequence[Transaction]]) -> list[Block]:
        """Replace the last `depth` blocks; return those that are gone."""
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        self._placed.clear()
        for transactions in blocks:
            self.mine(*transactions)
        return gone

    def mints(self, upto: int | None = None) -> list[PlacedMint]:
        """Return every mint up to a block, with the ids and log indexes that it gets there."""
        newest = self.head.number if upto is None else upto
        if newest not in self._placed:
            self._placed[newest] = list(self._place(newest))
        return self._placed[newest]

    def _place(self, newest: int) -> Iterator[PlacedMint]:
        next_id = 1
        for block in self.blocks[: newest + 1]:
            log_index = 0
            for transaction in block.transactions:
                for mint in transaction.mints:
                    log_index += mint.quantity  # one Transfer for each token comes first
                    yield PlacedMint(transaction.tx_hash, log_index, block, mint, next_id)
                    next_id += mint.quantity
                    log_index += 1
                if transaction.revealed:
                    log_index += 1

    def revealed(self, upto: int | None = None) -> set[int]:
        blocks = self.blocks if upto is None else self.blocks[: upto + 1]
        return {
            token_id
            for block in blocks
            for transaction in block.transactions
            for token_id in transaction.revealed
        }

    @staticmethod
    def log(placed: PlacedMint) -> dict[str, Any]:
        """Return the log of a mint in the form of JSON-RPC."""
        word = "0x" + f"{placed.mint.quantity:064x}" + f"{placed.mint.quantity * 10**15:064x}"
        return {
            "address": CONTRACT.lower(),
            "topics": [
                BATCH_MINTED_TOPIC,
                topic(placed.mint.minter),
                topic(placed.mint.author),
                f"0x{placed.start:064x}",
            ],
            "data": word,
            "blockNumber": hex(placed.block.number),
            "blockHash": placed.block.block_hash,
            "blockTimestamp": hex(placed.block.timestamp),
            "transactionHash": placed.tx_hash,
            "logIndex": hex(placed.log_index),
            "removed": False,
        }


def topic(address: str) -> str:
    """Return an address as the word of 32 bytes that logs and answers carry."""
    return "0x" + address[2:].lower().rjust(64, "0")
