"""What goes on in the world, read from outside: blocks from the node, states by plain SQL."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg

from glisk.database.embedded_postgres import EmbeddedPostgresError
from sandbox.world import World

STATES = ("detected", "generating", "uploading", "ready", "revealed")
_BILL_EVERY_SECONDS = 0.7

_STATUSES = "SELECT token_id, status FROM tokens_s0 WHERE token_id > %s ORDER BY token_id"
_FLYING = """
    SELECT tx_hash, cardinality(token_ids) FROM reveal_transactions
    WHERE status IN ('signed', 'broadcast') ORDER BY nonce
"""
_MINED = """
    SELECT tx_hash, block_number, cardinality(token_ids), gas_used,
           gas_used * effective_gas_price_wei
    FROM reveal_transactions WHERE status = 'confirmed' AND block_number > %s ORDER BY nonce
"""


@dataclass(frozen=True)
class MinedReveal:
    tx_hash: str
    block: int
    tokens: int
    gas: int
    fee_wei: int


@dataclass(frozen=True)
class Snapshot:
    """The world at one moment; amounts are of this run."""

    block: int = 0
    statuses: dict[int, str] = field(default_factory=dict)
    in_flight: list[tuple[str, int]] = field(default_factory=list)
    reveals: list[MinedReveal] = field(default_factory=list)
    predictions: int = 0
    vendor_usd: float = 0.0

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.statuses.values())

    @property
    def gas(self) -> int:
        return sum(reveal.gas for reveal in self.reveals)

    @property
    def fees_wei(self) -> int:
        return sum(reveal.fee_wei for reveal in self.reveals)


class Watcher:
    """Follow one run: what was there before it does not count."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._connection: psycopg.Connection[Any] | None = None
        self._bill: dict[str, Any] = {}
        self._bill_due = 0.0
        self.first_block = world.chain.block_number() + 1
        self.last_token_before = world.chain.next_token_id() - 1
        self._before = self._read_bill()
        self._last = Snapshot(block=self.first_block - 1)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def block(self) -> int:
        return self._last.block

    def look(self) -> Snapshot:
        """Return the present state, or the last one known while something is down."""
        try:
            self._last = self._read()
        except (psycopg.Error, EmbeddedPostgresError, OSError):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
        return self._last

    def _read(self) -> Snapshot:
        if self._connection is None:
            self._connection = psycopg.connect(self._world.database_url(), autocommit=True)
        query = self._connection.execute
        self._refresh_bill()
        return Snapshot(
            block=self._world.chain.block_number(),
            statuses=dict(query(_STATUSES, [self.last_token_before]).fetchall()),
            in_flight=query(_FLYING).fetchall(),
            reveals=[
                MinedReveal(tx_hash, block, tokens, int(gas), int(fee))
                for tx_hash, block, tokens, gas, fee in query(_MINED, [self.first_block - 1])
            ],
            predictions=self._bill.get("count", 0) - self._before.get("count", 0),
            vendor_usd=self._bill.get("total_usd", 0.0) - self._before.get("total_usd", 0.0),
        )

    def _refresh_bill(self) -> None:
        if time.monotonic() >= self._bill_due:
            self._bill = self._read_bill()
            self._bill_due = time.monotonic() + _BILL_EVERY_SECONDS

    def _read_bill(self) -> dict[str, Any]:
        bill: dict[str, Any] = self._world.control("replicate", "bill")
        return bill
