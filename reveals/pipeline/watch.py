"""Watch: closed batches, until no reorg can take their transactions back.

    claims   closed batches that are not settled yet
    calls    receipts and block hashes; for what is gone, what the contract says of its tokens
    settles  no reorg reaches it any more; or the batch is open again, and the same bytes are sent

A missing receipt alone proves nothing, since a node may lag: the block that held the transaction
must be gone, too, and stay gone for a while.

`FillGap` does the same for a nonce that the chain waits for, below all that are in flight. Either
the batch that spent it was closed and a reorg took it back, or somebody else's transaction had it,
and is gone: then a reveal of nothing takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from glisk.clients.chain import ChainClient, FeeHistory, OnChainToken
from glisk.clock import database_now
from glisk.engine.broker import notify
from glisk.timing import timing
from reveals import outbox
from reveals.gate import check_chain
from reveals.keeper import GasPriceTooHighError, choose_fees, configured_ceiling_wei, percentile
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from reveals.outbox import Doubt, RevealStep
from reveals.pipeline.receipts import MINED_FACTS, Included, look_for_receipts, mined_facts
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions import REVEAL_CHANNEL
from tokens.transitions.chain import change_reveal, recall_reveals

logger = structlog.get_logger(__name__)

# A nonce that others spent has no block of ours to count from, and a chain that makes no blocks
# (LOCAL) is not watched for ever: then time counts, twice that of Base's blocks. Base's are final
# after 20 minutes.
SETTLED_AFTER_SECONDS = 1800.0
_SECONDS_PER_BLOCK = 4.0

MINED = (TransactionStatus.CONFIRMED, TransactionStatus.REVERTED)


class Watch(RevealStep[list[RevealBatch], "Sight"]):
    rare = True

    _looked_at = -timing.longest_watch_poll  # monotonic
    _wait: float | None = 0.0
    _doubts = False  # at the last look

    def due_in(self) -> float | None:
        """Look often while something is young, or in doubt."""
        youngest = outbox.unsettled().aggregate(at=Max("closed_at"))["at"]
        if youngest is None or self.under_way:
            self._wait = None
        else:
            age = (database_now() - youngest).total_seconds()
            pace = timing.recall_after / 2 if self._doubts else age / 10
            pace = min(timing.longest_watch_poll, max(timing.watch_poll, pace))
            self._wait = max(0.0, pace - (time.monotonic() - self._looked_at))
        return self._wait

    def places(self) -> int:
        return super().places() if self._wait == 0 else 0

    def claim(self, limit: int) -> Sequence[list[RevealBatch]]:
        self._looked_at = time.monotonic()
        batches = outbox.with_transactions(outbox.unsettled())
        return [batches] if batches else ()

    def call(self, work: list[RevealBatch]) -> Sight:
        """Read what stands in the place of what is doubtful as well."""
        rows = [row for batch in work if Doubt.GONE in batch.doubts for row in batch.signed]
        on_chain = self.chain.tokens(sorted({i for row in rows for i in row.token_ids}))
        return look(self.chain, work, on_chain)

    def done(self, work: list[RevealBatch], value: Sight) -> None:
        fates = {batch: judge(batch, value, keeper=self.keeper.address) for batch in work}
        self._doubts = Fate.DOUBTFUL in fates.values()
        for batch, fate in fates.items():
            if fate is not Fate.UNKNOWN:
                self._follow(batch, fate, value)
        settled = [batch.pk for batch, fate in fates.items() if fate is Fate.SETTLED]
        if settled:
            RevealBatch.objects.filter(pk__in=settled, closed_at__isnull=False).update(
                settled_at=database_now()
            )

    def _follow(self, batch: RevealBatch, fate: Fate, sight: Sight) -> None:
        lasted = outbox.doubt_lasts(batch, Doubt.GONE, holds=fate is Fate.DOUBTFUL)
        # A doubt of this very look, settled again after an outage, has not lasted: nobody asked.
        is_asked = sight.on_chain.keys() >= {i for row in batch.signed for i in row.token_ids}
        if is_asked and lasted >= timing.recall_after:
            recall_batch(batch.pk, sight, actor=self.owner)
        if fate is Fate.MOVED:
            follow_move(batch, sight)


class FillGap(RevealStep[RevealBatch, tuple[int, FeeHistory]]):
    """Works on the batch with the lowest nonce of the keeper in flight."""

    rare = True

    def claim(self, limit: int) -> Sequence[RevealBatch]:
        lowest = self.shared.ours[:1]
        return [b for b in lowest if outbox.doubted_for(b, Doubt.GAP) >= timing.gap_after]

    def call(self, work: RevealBatch) -> tuple[int, FeeHistory]:
        mined = self.chain.mined_transactions(keeper=self.keeper.address, tx_hashes=[])
        check_chain(mined.chain_id)
        return mined.transaction_count, self.chain.fee_history(percentile=percentile())

    def done(self, work: RevealBatch, value: tuple[int, FeeHistory]) -> None:
        """Have a closed batch of this nonce watched again, or sign what takes the nonce."""
        nonce, history = value
        outbox.doubt_lasts(work, Doubt.GAP, holds=False)  # it is noticed again
        if nonce >= work.nonce:
            return
        logger.error("nonce_gap", keeper=self.keeper.address, nonce=nonce)
        if outbox.unsettle(keeper=self.keeper.address, nonce=nonce):
            return
        try:
            fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
        except GasPriceTooHighError as error:
            logger.warning("nonce_gap_stays", error=str(error))
            return
        outbox.reserve_filler(keeper=self.keeper.address, nonce=nonce, fees=fees)


# -- what became of a closed batch ----------------------------------------------------------


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
    on_chain: Mapping[int, OnChainToken] = field(default_factory=dict)


def look(
    chain: ChainClient,
    batches: Sequence[RevealBatch],
    on_chain: Mapping[int, OnChainToken] | None = None,
) -> Sight:
    """Read receipts, blocks and nonces of the watched batches; no database."""
    rows = [row for batch in batches for row in batch.signed]
    included = look_for_receipts(chain, rows)
    numbers = sorted({row.block_number for row in rows if row.block_number is not None})
    blocks = chain.block_hashes(numbers) if numbers else {}
    return Sight(included, blocks, on_chain or {})


def judge(batch: RevealBatch, sight: Sight, *, keeper: str) -> Fate:
    """Say what became of a closed batch.

    `keeper`: the one of today. What a former one left unspent was given up, and stays so.
    """
    mined = next((row for row in batch.signed if row.status in MINED), None)
    receipts = sight.included.receipts
    receipt = None if mined is None else receipts[mined.tx_hash]
    others = any(receipts[row.tx_hash] for row in batch.signed if row is not mined)
    if mined is None:  # superseded
        unspent = sight.included.transaction_counts[batch.keeper] <= batch.nonce
        if others or (unspent and batch.keeper == keeper):
            return Fate.DOUBTFUL
        return Fate.SETTLED if _is_old(batch) else Fate.KEPT
    number = int(mined.block_number or 0)
    if receipt is None:
        stands = sight.blocks.get(number)
        if stands is None and not others:
            return Fate.UNKNOWN
        if others or stands != mined.block_hash:
            return Fate.DOUBTFUL
        # Its block is there: the node lags in its receipts, or keeps them no longer.
    elif receipt.succeeded != (mined.status == TransactionStatus.CONFIRMED):
        return Fate.DOUBTFUL
    elif receipt.block_hash != mined.block_hash:
        return Fate.MOVED
    depth = sight.included.head.number - number + 1
    deep = depth >= settings.REVEAL_SAFE_CONFIRMATIONS
    return Fate.SETTLED if deep or _is_old(batch) else Fate.KEPT


def _is_old(batch: RevealBatch) -> bool:
    if batch.closed_at is None:
        return False
    limit = max(SETTLED_AFTER_SECONDS, _SECONDS_PER_BLOCK * settings.REVEAL_SAFE_CONFIRMATIONS)
    return bool((database_now() - batch.closed_at).total_seconds() > limit)


def follow_move(batch: RevealBatch, sight: Sight) -> None:
    """Note the new block of a transaction that a reorg kept."""
    mined = next(row for row in batch.signed if row.status in MINED)
    if (receipt := sight.included.receipts[mined.tx_hash]) is not None:
        RevealTransaction.objects.filter(pk=mined.pk, status=mined.status).update(
            **mined_facts(receipt)
        )
        logger.warning(
            "reveal_moved",
            tx_hash=mined.tx_hash,
            from_block=mined.block_number,
            to_block=receipt.block_number,
        )


# -- a reorg took it back -------------------------------------------------------------------


def recall_batch(batch_id: int, sight: Sight, *, actor: str) -> bool:
    """Make a closed batch pending again; return whether it was closed.

    A token that is still revealed stays so, whoever did it; the others are ready again, with a
    place in this batch unless they have one in another.
    """
    with transaction.atomic():
        closed = RevealBatch.objects.select_for_update().exclude(status=BatchStatus.OPEN)
        batch = closed.filter(pk=batch_id).first()
        if batch is None:
            return False
        rows = list(batch.transactions.order_by("pk"))
        mined = next((row for row in rows if row.status in MINED), None)
        # The one that stands on chain now, and revealed its tokens.
        found = sight.included.receipts
        standing = (row for row in rows if (r := found.get(row.tx_hash)) and r.succeeded)
        winner = next(standing, None)
        if mined is not None:
            RevealTransaction.objects.filter(pk=mined.pk).update(
                error=f"A reorg took it back from block {mined.block_number} ({mined.block_hash}).",
                confirmed_at=None,
                read_back_at=None,
                status=TransactionStatus.BROADCAST,  # the others as well, below
                **dict.fromkeys(MINED_FACTS),
            )
        batch.transactions.update(status=TransactionStatus.BROADCAST)
        batch.transactions.filter(broadcast_at=None).update(status=TransactionStatus.SIGNED)
        RevealBatch.objects.filter(pk=batch.pk).update(
            status=BatchStatus.OPEN,
            closed_at=None,
            reviewed_at=None,
            send_at=None,
            failures=0,
            doubts={},
        )
        if mined is not None:
            _recall_tokens(mined, winner, sight.on_chain, actor=actor)
        # Its ready tokens have their places back, if no other open batch has them.
        taken = RevealBatchToken.objects.filter(is_open=True).values("token_id")
        batch.items.filter(token__status=TokenStatus.READY).exclude(token__in=taken).update(
            is_open=True
        )
        notify(REVEAL_CHANNEL)
    logger.error(
        "reveal_recalled",
        batch_id=batch_id,
        nonce=batch.nonce,
        was=batch.status,
        tx_hash=mined.tx_hash if mined else None,
        mined_instead=winner.tx_hash if winner else None,
    )
    return True


def _recall_tokens(
    mined: RevealTransaction,
    winner: RevealTransaction | None,
    on_chain: Mapping[int, OnChainToken],
    *,
    actor: str,
) -> None:
    tokens = list(
        Token.objects.select_for_update()
        .filter(
            token_id__in=mined.token_ids,
            status=TokenStatus.REVEALED,
            reveal_tx_hash=mined.tx_hash,
        )
        .order_by("token_id")
    )
    gone: list[Token] = []
    for token in tokens:
        if winner is not None and token.token_id in winner.token_ids:
            what = f"mined again, in {winner.tx_hash}"
            change_reveal(token, what=what, actor=actor, tx_hash=winner.tx_hash)
        elif on_chain[token.token_id].revealed:
            uri = on_chain[token.token_id].uri
            what = f"revealed by others, with {uri}"
            change_reveal(token, what=what, actor=actor, tx_hash=None, uri=uri)
        else:
            gone.append(token)
    recall_reveals(gone, tx_hash=mined.tx_hash, block_number=mined.block_number, actor=actor)
