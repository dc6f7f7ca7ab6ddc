"""What a mined transaction means: tokens revealed, or free again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from glisk.backoff import backoff_seconds
from glisk.clients.chain import Receipt
from reveals.candidates import set_aside
from reveals.gate import Objection
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from tokens.moves import Move, move_tokens
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

REVERT_WAIT_SECONDS = 5.0


def confirm(
    row: RevealTransaction,
    receipt: Receipt,
    *,
    revealed_at: datetime,
    actor: str,
    was: Sequence[BatchStatus] = (BatchStatus.OPEN,),
) -> set[int]:
    """Close a batch whose transaction succeeded; return the tokens that are revealed by it.

    `was`: the states of the batch in which that is news.
    """
    with transaction.atomic():
        if not _close(row, receipt, BatchStatus.CONFIRMED, TransactionStatus.CONFIRMED, was):
            return set()
        moved = move_tokens(
            [
                Move(
                    token_id=token_id,
                    fields={
                        "reveal_tx_hash": row.tx_hash,
                        "revealed_at": revealed_at,
                        "generation_error": None,
                        "error_class": "",
                    },
                    detail={"tx_hash": row.tx_hash, "block_number": receipt.block_number},
                )
                for token_id in row.token_ids
            ],
            source=TokenStatus.READY,
            target=TokenStatus.REVEALED,
            actor=actor,
        )
    logger.info(
        "reveal_confirmed",
        tx_hash=row.tx_hash,
        tokens=len(moved),
        block_number=receipt.block_number,
        gas_used=receipt.gas_used,
    )
    if len(moved) != len(row.token_ids):
        logger.error("revealed_but_not_ready", tx_hash=row.tx_hash, tokens=row.token_ids)
    return moved


def release_reverted(row: RevealTransaction, receipt: Receipt, *, actor: str) -> None:
    """Close a batch whose transaction was mined without effect; its tokens are free again.

    They wait longer each time, since every transaction costs gas, whatever comes of it.
    """
    with transaction.atomic():
        if _close(row, receipt, BatchStatus.REVERTED, TransactionStatus.REVERTED):
            set_aside(_objections_after_revert(row), actor=actor)
    logger.error("reveal_reverted", tx_hash=row.tx_hash, nonce=row.nonce, tokens=row.token_ids)


def _objections_after_revert(row: RevealTransaction) -> list[Objection]:
    reverts = (
        RevealBatchToken.objects.filter(token__in=row.token_ids, batch__status=BatchStatus.REVERTED)
        .values_list("token_id")
        .annotate(times=Count("pk"))
    )
    return [
        Objection(
            token_id,
            f"Its reveal {row.tx_hash} was mined, but reverted ({times} in all): look at the "
            "transaction. It is tried again later.",
            "reverted",
            final=False,
            wait_seconds=backoff_seconds(times, base=REVERT_WAIT_SECONDS, cap=300.0),
        )
        for token_id, times in reverts
    ]


def release_superseded(rows: Sequence[RevealTransaction]) -> None:
    """Close a batch whose nonce was spent by a transaction that is not ours."""
    batch = rows[0].batch
    with transaction.atomic():
        if _close_batch(batch, BatchStatus.SUPERSEDED):
            RevealTransaction.objects.filter(batch=batch).update(
                status=TransactionStatus.REPLACED,
                error="The nonce was spent by a transaction that this program did not sign.",
            )
    logger.error("keeper_nonce_used_by_others", keeper=batch.keeper, nonce=batch.nonce)


def _close(
    row: RevealTransaction,
    receipt: Receipt,
    batch_status: BatchStatus,
    status: TransactionStatus,
    was: Sequence[BatchStatus] = (BatchStatus.OPEN,),
) -> bool:
    if not _close_batch(row.batch, batch_status, was):
        return False
    RevealTransaction.objects.filter(batch=row.batch).exclude(pk=row.pk).update(
        status=TransactionStatus.REPLACED
    )
    RevealTransaction.objects.filter(pk=row.pk).update(
        status=status,
        confirmed_at=timezone.now(),
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        effective_gas_price_wei=receipt.effective_gas_price_wei,
        l1_fee_wei=receipt.l1_fee_wei,
    )
    return True


def batches_of(token_ids: Sequence[int]) -> list[int]:
    """Return the batches that the tokens were ever in."""
    items = RevealBatchToken.objects.filter(token__in=token_ids)
    return list(items.values_list("batch_id", flat=True).distinct())


def _close_batch(
    batch: RevealBatch, status: BatchStatus, was: Sequence[BatchStatus] = (BatchStatus.OPEN,)
) -> bool:
    closed = RevealBatch.objects.filter(pk=batch.pk, status__in=was).update(
        status=status, closed_at=timezone.now()
    )
    RevealBatchToken.objects.filter(batch=batch, is_open=True).update(is_open=False)
    return bool(closed)
