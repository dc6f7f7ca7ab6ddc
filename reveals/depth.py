"""Closed batches, watched until no reorg can take their transactions back.

A missing receipt alone proves nothing, since a node may lag: the block that held the transaction
must be gone, too, and stay gone for a while. Then the batch is opened again, and the transactions
in flight (reveals.flight) take it up: the same bytes are sent again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.clients.chain import ChainClient, OnChainToken, Receipt
from glisk.clock import database_now
from glisk.engine.drain import CallResult
from glisk.errors import as_provider_error
from reveals import outbox, settlement
from reveals.inclusion import Included, look_for_receipts
from reveals.models import BatchStatus, RevealTransaction, TransactionStatus
from reveals.recalling import MINED, recall_batch

if TYPE_CHECKING:
    from reveals.drain import RevealDrain

logger = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
LONGEST_POLL_SECONDS = 30.0
# So long must a transaction be gone: two of Base's blocks, in which a node finds its fork.
RECALL_AFTER_SECONDS = 4.0
# A nonce that others spent has no block of ours to count from, and a chain that makes no blocks
# (LOCAL) is not watched for ever: then time counts, twice that of Base's blocks. Base's are final
# after 20 minutes.
SETTLED_AFTER_SECONDS = 1800.0
_SECONDS_PER_BLOCK = 4.0


class Fate(Enum):
    KEPT = "kept"
    SETTLED = "settled"
    MOVED = "moved"  # the same transaction with the same outcome, in another block
    DOUBTFUL = "doubtful"  # not on chain as we have it
    UNKNOWN = "unknown"  # the node cannot tell


@dataclass(frozen=True)
class Sight:
    """What the chain shows of the watched batches."""

    included: Included
    blocks: Mapping[int, str | None]

    @property
    def receipts(self) -> Mapping[str, Receipt | None]:
        return self.included.receipts


def look(chain: ChainClient, rows: Sequence[RevealTransaction]) -> Sight:
    """Read receipts, blocks and nonces of the watched batches; no database."""
    included = look_for_receipts(chain, rows)
    numbers = sorted({row.block_number for row in rows if row.block_number is not None})
    return Sight(included, chain.block_hashes(numbers) if numbers else {})


def judge(rows: Sequence[RevealTransaction], sight: Sight, *, keeper: str) -> Fate:
    """Say what became of a closed batch; `rows` are all transactions signed for it.

    `keeper`: the one of today. What a former one left unspent was given up, and stays so.
    """
    mined = next((row for row in rows if row.status in MINED), None)
    if mined is None:
        return _judge_superseded(rows, sight, keeper)
    receipt = sight.receipts[mined.tx_hash]
    number = int(mined.block_number or 0)
    if receipt is None:
        if any(sight.receipts[row.tx_hash] is not None for row in rows):
            return Fate.DOUBTFUL
        stands = sight.blocks.get(number)
        if stands is None:
            return Fate.UNKNOWN
        if stands != mined.block_hash:
            return Fate.DOUBTFUL
        # Its block is there: the node lags in its receipts, or keeps them no longer.
    elif receipt.succeeded != (mined.status == TransactionStatus.CONFIRMED):
        return Fate.DOUBTFUL
    elif receipt.block_hash != mined.block_hash:
        return Fate.MOVED
    depth = sight.included.head.number - number + 1
    deep = depth >= settings.REVEAL_SAFE_CONFIRMATIONS
    return Fate.SETTLED if deep or _is_old(mined) else Fate.KEPT


def _judge_superseded(rows: Sequence[RevealTransaction], sight: Sight, keeper: str) -> Fate:
    first = rows[0]
    if any(sight.receipts[row.tx_hash] is not None for row in rows):
        return Fate.DOUBTFUL
    unspent = sight.included.transaction_counts[first.keeper] <= first.nonce
    if unspent and first.keeper == keeper:
        return Fate.DOUBTFUL
    return Fate.SETTLED if _is_old(first) else Fate.KEPT


def _is_old(row: RevealTransaction) -> bool:
    closed_at = row.batch.closed_at
    if closed_at is None:
        return False
    limit = max(SETTLED_AFTER_SECONDS, _SECONDS_PER_BLOCK * settings.REVEAL_SAFE_CONFIRMATIONS)
    return bool((database_now() - closed_at).total_seconds() > limit)


class DepthWatch:
    def __init__(self, drain: RevealDrain) -> None:
        self.drain = drain
        self._due_at = 0.0  # monotonic
        self._busy = False
        self._doubtful_since: dict[int, float] = {}
        self._asking: set[int] = set()  # batches that are looked at once more just now

    def hurry(self) -> None:
        """Look soon: a batch was closed."""
        self._due_at = min(self._due_at, time.monotonic() + POLL_SECONDS)

    def watch(self) -> None:
        """Ask for everything that is watched, if it is time."""
        now = time.monotonic()
        if self._busy or now < self._due_at:
            return
        # Opened again by a drain that was ending: nobody else sends it.
        self.drain.flights.reload()
        batches = outbox.unsettled_transactions()
        self._due_at = now + _pace(batches)
        self._doubtful_since = {k: s for k, s in self._doubtful_since.items() if k in batches}
        if not batches:
            return
        rows = [row for of_batch in batches.values() for row in of_batch]
        self._busy = True
        self.drain.submit("depth", batches, lambda: look(self.drain.chain, rows))

    def take(self, results: list[CallResult]) -> None:
        for result in results:
            if result.kind not in ("depth", "recall"):
                continue
            if result.kind == "recall":
                self._asking.discard(result.key[0].batch_id)
            else:
                self._busy = False
            if result.error is not None:
                fault = as_provider_error(result.error, vendor="chain")
                logger.warning("depth_unknown", error=str(fault))
            elif result.kind == "depth":
                self._judge_all(result.key, result.value)
            else:
                self._recall(result.key, *result.value)

    def _judge_all(self, batches: dict[int, list[RevealTransaction]], sight: Sight) -> None:
        now, keeper = time.monotonic(), self.drain.keeper.address
        settled: list[int] = []
        for batch_id, rows in batches.items():
            fate = judge(rows, sight, keeper=keeper)
            if fate in (Fate.KEPT, Fate.MOVED, Fate.SETTLED):
                self._doubtful_since.pop(batch_id, None)
            if fate is Fate.SETTLED:
                settled.append(batch_id)
            elif fate is Fate.MOVED:
                _follow(rows, sight)
            elif fate is Fate.DOUBTFUL:
                since = self._doubtful_since.setdefault(batch_id, now)
                if now - since >= RECALL_AFTER_SECONDS:
                    self._ask_again(batch_id, rows)
                else:
                    self._due_at = min(self._due_at, now + RECALL_AFTER_SECONDS / 2)
        outbox.mark_settled(settled)

    def _ask_again(self, batch_id: int, rows: Sequence[RevealTransaction]) -> None:
        """Read what stands in its place; opened again is only what is gone then, too.

        Once at a time: an old answer must not open what a newer one opened, and a receipt closed.
        """
        if batch_id in self._asking:
            return
        self._asking.add(batch_id)
        chain = self.drain.chain
        token_ids = sorted({token_id for row in rows for token_id in row.token_ids})

        def read() -> tuple[Sight, dict[int, OnChainToken]]:
            on_chain = chain.tokens(token_ids)
            return look(chain, rows), on_chain

        self.drain.submit("recall", rows, read)

    def _recall(
        self,
        rows: Sequence[RevealTransaction],
        sight: Sight,
        on_chain: dict[int, OnChainToken],
    ) -> None:
        fate = judge(rows, sight, keeper=self.drain.keeper.address)
        if fate is not Fate.DOUBTFUL or self.drain.stopping:
            return
        batch_id = rows[0].batch_id
        opened = recall_batch(
            batch_id, receipts=sight.receipts, on_chain=on_chain, actor=self.drain.owner
        )
        self._doubtful_since.pop(batch_id, None)
        if opened:
            self.drain.flights.reload()

    def next_turn_seconds(self) -> float:
        return max(0.0, self._due_at - time.monotonic())


def _pace(batches: Mapping[int, Sequence[RevealTransaction]]) -> float:
    """Return the seconds until the next look: often while something is young."""
    closed = [rows[0].batch.closed_at for rows in batches.values() if rows[0].batch.closed_at]
    if not closed:
        return LONGEST_POLL_SECONDS
    age = (database_now() - max(closed)).total_seconds()
    return min(LONGEST_POLL_SECONDS, max(POLL_SECONDS, age / 10))


def _follow(rows: Sequence[RevealTransaction], sight: Sight) -> None:
    mined = next(row for row in rows if row.status in MINED)
    receipt = sight.receipts[mined.tx_hash]
    if receipt is not None and mined.batch.status != BatchStatus.OPEN:
        settlement.note_move(mined, receipt)
