"""What a mined transaction means: tokens revealed, or free again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count

from glisk.backoff import backoff_seconds
from glisk.clients.chain import Block, Receipt
from glisk.clock import database_now
from reveals.candidates import set_aside
from reveals.following_up import follow_up_soon
from reveals.gate import Objection
from reveals.inclusion import Included, Revert
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions.reveal import claim_adopted
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

REVERT_WAIT_SECONDS = 5.0
REVERTS_TO_FAIL = 3


def close_by_receipt(
    rows: Sequence[RevealTransaction], found: Included, *, actor: str
) -> bool | None:
    """Close a batch by the receipt of one of its transactions, if that is deep enough.

    Returns whether it is closed, or None if there is no receipt at all.
    """
    for row in rows:
        receipt = found.receipts.get(row.tx_hash)
        if receipt is None:
            continue
        if found.head.number - receipt.block_number + 1 < settings.REVEAL_CONFIRMATIONS:
            return False
        if receipt.succeeded:
            confirm(row, receipt, revealed_at=_mined_at(found.head, receipt), actor=actor)
        else:
            release_reverted(row, receipt, found.reverts.get(row.tx_hash), actor=actor)
        return True
    return None


def _mined_at(head: Block, receipt: Receipt) -> datetime:
    """Return the block's own time if it is the newest; else now, which is close enough."""
    return head.mined_at if receipt.block_number == head.number else database_now()


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
        if len(moved) != len(row.token_ids):
            uris = dict(zip(row.token_ids, row.metadata_uris, strict=True))
            claim_adopted(uris, tx_hash=row.tx_hash, revealed_at=revealed_at)
    follow_up_soon()
    logger.info(
        "reveal_confirmed",
        tx_hash=row.tx_hash,
        tokens=len(moved),
        block_number=receipt.block_number,
        gas_used=receipt.gas_used,
    )
    if len(moved) != len(row.token_ids) and not _all_revealed_by(row):
        logger.error("revealed_but_not_ready", tx_hash=row.tx_hash, tokens=row.token_ids)
    return moved


def _all_revealed_by(row: RevealTransaction) -> bool:
    """Tell whether the tokens were revealed by it already, and only its batch was opened again."""
    revealed = Token.objects.filter(token_id__in=row.token_ids, reveal_tx_hash=row.tx_hash)
    return revealed.count() == len(row.token_ids)


def note_move(row: RevealTransaction, receipt: Receipt) -> None:
    """Note the new block of a closed batch's transaction, after a reorg that kept it."""
    RevealTransaction.objects.filter(pk=row.pk, status=row.status).update(**_facts(receipt))
    logger.warning(
        "reveal_moved",
        tx_hash=row.tx_hash,
        from_block=row.block_number,
        to_block=receipt.block_number,
    )


def release_reverted(
    row: RevealTransaction, receipt: Receipt, revert: Revert | None, *, actor: str
) -> None:
    """Close a batch whose transaction was mined without effect; its tokens are free again.

    They wait longer each time, since every transaction costs gas, whatever comes of it; but not
    those of which the contract did not complain, if it named one. A token that reverts even by
    itself, again and again, fails (see reveals.batching for how it gets to be alone).
    """
    reason = revert.reason if revert else "the reason is not known"
    with transaction.atomic():
        if _close(row, receipt, BatchStatus.REVERTED, TransactionStatus.REVERTED):
            RevealTransaction.objects.filter(pk=row.pk).update(error=f"Reverted: {reason}")
            culprit = revert.token_id if revert else None
            set_aside(_objections_after_revert(row, reason, culprit), actor=actor)
    logger.error(
        "reveal_reverted",
        tx_hash=row.tx_hash,
        nonce=row.nonce,
        tokens=row.token_ids,
        reason=reason,
    )


def _objections_after_revert(
    row: RevealTransaction, reason: str, culprit: int | None
) -> list[Objection]:
    reverts = (
        RevealBatchToken.objects.filter(token__in=row.token_ids, batch__status=BatchStatus.REVERTED)
        .values_list("token_id")
        .annotate(times=Count("pk"))
    )
    alone = len(row.token_ids) == 1
    named = culprit in row.token_ids
    found = []
    for token_id, times in reverts:
        final = alone and not named and times >= REVERTS_TO_FAIL
        what_next = (
            "It reverted by itself: look at the transaction, then retry it."
            if final
            else "It is tried again later."
        )
        # Whoever is named is looked at again before anything is signed; the first time, at once.
        waits = not named or (token_id == culprit and times > 1)
        found.append(
            Objection(
                token_id,
                f"Its reveal {row.tx_hash} was mined, but reverted: {reason} ({times} in all). "
                f"{what_next}",
                "reverted",
                final=final,
                wait_seconds=backoff_seconds(times, base=REVERT_WAIT_SECONDS, cap=300.0)
                if waits
                else 0.0,
            )
        )
    return found


def release_superseded(rows: Sequence[RevealTransaction]) -> None:
    """Close a batch whose nonce was spent by a transaction that is not ours."""
    batch = rows[0].batch
    _give_up(batch, "The nonce was spent by a transaction that this program did not sign.")
    logger.error("keeper_nonce_used_by_others", keeper=batch.keeper, nonce=batch.nonce)


def release_abandoned(rows: Sequence[RevealTransaction]) -> None:
    """Close a batch of a former keeper that is not mined; its tokens go with the new one."""
    batch = rows[0].batch
    _give_up(batch, "The keeper was changed before it was mined; nobody can replace it.")
    logger.error("former_keepers_reveal_given_up", keeper=batch.keeper, nonce=batch.nonce)


def _give_up(batch: RevealBatch, why: str) -> None:
    with transaction.atomic():
        if _close_batch(batch, BatchStatus.SUPERSEDED):
            RevealTransaction.objects.filter(batch=batch).update(
                status=TransactionStatus.REPLACED, error=why
            )


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
        status=status, confirmed_at=database_now(), read_back_at=None, **_facts(receipt)
    )
    return True


def _facts(receipt: Receipt) -> dict[str, Any]:
    return {
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
        "effective_gas_price_wei": receipt.effective_gas_price_wei,
        "l1_fee_wei": receipt.l1_fee_wei,
    }


def batches_of(token_ids: Sequence[int]) -> list[int]:
    """Return the batches that the tokens were ever in."""
    items = RevealBatchToken.objects.filter(token__in=token_ids)
    return list(items.values_list("batch_id", flat=True).distinct())


def _close_batch(
    batch: RevealBatch, status: BatchStatus, was: Sequence[BatchStatus] = (BatchStatus.OPEN,)
) -> bool:
    closed = RevealBatch.objects.filter(pk=batch.pk, status__in=was).update(
        status=status, closed_at=database_now(), settled_at=None
    )
    RevealBatchToken.objects.filter(batch=batch, is_open=True).update(is_open=False)
    return bool(closed)
