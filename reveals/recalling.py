"""Open a closed batch again: a reorg took its transaction back, or mined another one instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from django.db import transaction
from django.db.models import Case, Value, When

from glisk.clients.chain import OnChainToken, Receipt
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions.reveal import change_reveal, recall_reveals

logger = structlog.get_logger(__name__)

MINED = (TransactionStatus.CONFIRMED, TransactionStatus.REVERTED)


def recall_batch(
    batch_id: int,
    *,
    receipts: Mapping[str, Receipt | None],
    on_chain: Mapping[int, OnChainToken],
    actor: str,
) -> bool:
    """Make a closed batch pending again; return whether it was closed.

    `receipts`: what the chain has now for each of its hashes; `on_chain`: what the contract says
    of its tokens now. A token that is still revealed stays so, whoever did it; the others are
    ready again, with a place in this batch unless they have one in another.
    """
    with transaction.atomic():
        batch = (
            RevealBatch.objects.select_for_update()
            .filter(pk=batch_id)
            .exclude(status=BatchStatus.OPEN)
            .first()
        )
        if batch is None:
            return False
        rows = list(RevealTransaction.objects.filter(batch=batch).order_by("pk"))
        mined = next((row for row in rows if row.status in MINED), None)
        winner = _winner(rows, receipts)
        _forget_blocks(batch, mined)
        RevealBatch.objects.filter(pk=batch.pk).update(status=BatchStatus.OPEN, closed_at=None)
        if mined is not None:
            _recall_tokens(mined, winner, on_chain, actor=actor)
        _take_places(batch)
    logger.error(
        "reveal_recalled",
        batch_id=batch_id,
        nonce=batch.nonce,
        was=batch.status,
        tx_hash=mined.tx_hash if mined else None,
        mined_instead=winner.tx_hash if winner else None,
    )
    return True


def _winner(
    rows: Sequence[RevealTransaction], receipts: Mapping[str, Receipt | None]
) -> RevealTransaction | None:
    """Return the transaction of this nonce that stands on chain now, and revealed its tokens."""
    for row in rows:
        receipt = receipts.get(row.tx_hash)
        if receipt is not None and receipt.succeeded:
            return row
    return None


def _forget_blocks(batch: RevealBatch, mined: RevealTransaction | None) -> None:
    if mined is not None:
        RevealTransaction.objects.filter(pk=mined.pk).update(
            error=f"A reorg took it back from block {mined.block_number} ({mined.block_hash}).",
            block_number=None,
            block_hash=None,
            confirmed_at=None,
            gas_used=None,
            effective_gas_price_wei=None,
            l1_fee_wei=None,
            read_back_at=None,
            status=TransactionStatus.BROADCAST,
        )
    RevealTransaction.objects.filter(batch=batch).update(
        status=Case(
            When(broadcast_at=None, then=Value(TransactionStatus.SIGNED)),
            default=Value(TransactionStatus.BROADCAST),
        )
    )


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


def _take_places(batch: RevealBatch) -> None:
    """Give the ready tokens of the batch their places back, if no other open batch has them."""
    taken = RevealBatchToken.objects.filter(is_open=True).values("token_id")
    RevealBatchToken.objects.filter(batch=batch, token__status=TokenStatus.READY).exclude(
        token__in=taken
    ).update(is_open=True)
