"""Receipts: what became of the transactions in flight.

claims   every open batch, again and again while there is one
calls    the receipts of every hash that was ever signed for it
settles  tokens revealed, or free again because it reverted, or because others spent the nonce
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Count

from glisk.clients.chain import (
    Block,
    ChainClient,
    Receipt,
    already_revealed_id,
    encode_reveal,
    revert_reason,
)
from glisk.clock import database_now
from glisk.engine.step import Done, Failed
from glisk.errors import ProviderError, as_provider_error, backoff_seconds
from glisk.timing import timing
from reveals import outbox
from reveals.gate import check_chain, set_aside
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealTransaction,
    TransactionStatus,
)
from reveals.outbox import Doubt, RevealStep
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.transitions.chain import claim_adopted
from tokens.transitions.claims import Refusal
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

REVERTS_TO_FAIL = 3


class Receipts(RevealStep[list[RevealBatch], "Included"]):
    failures = 0  # in a row

    def claim(self, limit: int) -> Sequence[list[RevealBatch]]:
        signed = [batch for batch in self.shared.open if batch.signed]
        return [signed] if signed else ()

    def call(self, work: list[RevealBatch]) -> Included:
        rows = [row for batch in work for row in batch.signed]
        return look_for_receipts(self.chain, rows, confirmations=settings.REVEAL_CONFIRMATIONS)

    def settle(
        self,
        done: Sequence[Done[list[RevealBatch], Included]],
        failed: Sequence[Failed[list[RevealBatch]]],
    ) -> None:
        for lost in failed:
            self.failures += 1
            fault = as_provider_error(lost.error, vendor="chain")
            logger.warning(
                "receipts_unavailable",
                error=str(fault),
                exc_info=None if fault is lost.error else lost.error,
            )
            self.pause(backoff_seconds(self.failures, base=0.5, cap=10.0))
        for each in done:
            was_away, self.failures = self.failures > 0, 0
            still_open = [batch for batch in each.work if not self._settle(batch, each.value)]
            self._notice_gap(still_open, each.value)
            if was_away:
                outbox.send_all_now()
            self.pause(timing.receipt_poll)

    def _settle(self, batch: RevealBatch, found: Included) -> bool:
        """Close the batch if its fate is sure; return whether it is closed."""
        closed = close_by_receipt(batch.signed, found, actor=self.owner)
        if closed is not None:
            outbox.doubt_lasts(batch, Doubt.SPENT, holds=False)
            return closed
        count = found.transaction_counts.get(batch.keeper, 0)
        return self._is_superseded(batch, count) or self._is_abandoned(batch, count)

    def _is_superseded(self, batch: RevealBatch, transaction_count: int) -> bool:
        spent = transaction_count > batch.nonce
        if outbox.doubt_lasts(batch, Doubt.SPENT, spent) < timing.superseded_after or not spent:
            return False
        if self._knows_less(batch):
            return False
        why = "The nonce was spent by a transaction that this program did not sign."
        _give_up(batch, why)
        logger.error("keeper_nonce_used_by_others", keeper=batch.keeper, nonce=batch.nonce)
        return True

    def _is_abandoned(self, batch: RevealBatch, transaction_count: int) -> bool:
        """Give up what a former keeper signed and the chain does not take.

        Nobody can replace it, and perhaps that keeper has lost its role or its funds. Should it
        be mined after all, it reveals what was verified, or nothing at all.
        """
        former = batch.keeper != self.keeper.address and transaction_count <= batch.nonce
        if outbox.doubt_lasts(batch, Doubt.FORMER, former) < timing.abandoned_after or not former:
            return False
        age = (database_now() - batch.newest.signed_at).total_seconds()
        if age < settings.TRANSACTION_TIMEOUT_SECONDS or self._knows_less(batch):
            return False
        why = "The keeper was changed before it was mined; nobody can replace it."
        _give_up(batch, why)
        logger.error("former_keepers_reveal_given_up", keeper=batch.keeper, nonce=batch.nonce)
        return True

    def _knows_less(self, batch: RevealBatch) -> bool:
        """Tell whether more was signed for it, by now, than was asked for."""
        return RevealTransaction.objects.filter(batch=batch).count() > len(batch.signed)

    def _notice_gap(self, still_open: Sequence[RevealBatch], found: Included) -> None:
        """Note that the chain waits for a nonce below all of ours, if it does (see watch)."""
        ours = [batch for batch in still_open if batch.keeper == self.keeper.address]
        if ours and self.keeper.address in found.transaction_counts:
            lowest = ours[0]
            gap = found.transaction_counts[self.keeper.address] < lowest.nonce
            outbox.doubt_lasts(lowest, Doubt.GAP, gap)


# -- reading --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Revert:
    """Why a mined transaction had no effect; `token_id` if the contract named one."""

    reason: str
    token_id: int | None = None


@dataclass(frozen=True)
class Included:
    head: Block
    receipts: Mapping[str, Receipt | None]
    transaction_counts: Mapping[str, int]  # mined, by keeper
    reverts: Mapping[str, Revert] = field(default_factory=dict)


def look_for_receipts(
    chain: ChainClient, rows: Sequence[RevealTransaction], *, confirmations: int = 0
) -> Included:
    """Read the receipts of every hash, in one round trip for each keeper; no database.

    Reverts that have their confirmations are explained; 0 asks for no explanation. Raises
    `ChainSetupError` on a chain that is not ours: what it lacks says nothing.
    """
    counts: dict[str, int] = {}
    receipts: dict[str, Receipt | None] = {}
    heads: list[Block] = []
    for keeper in sorted({row.keeper for row in rows}):
        hashes = [row.tx_hash for row in rows if row.keeper == keeper]
        mined = chain.mined_transactions(keeper=keeper, tx_hashes=hashes)
        check_chain(mined.chain_id)
        counts[keeper] = mined.transaction_count
        heads.append(mined.head)
        receipts |= mined.receipts
    lowest = min(heads, key=lambda head: head.number)
    reverts: dict[str, Revert] = {}
    for row in rows:
        receipt = receipts[row.tx_hash]
        if not confirmations or receipt is None or receipt.succeeded:
            continue
        if lowest.number - receipt.block_number + 1 >= confirmations:
            reverts[row.tx_hash] = _explain(chain, row, receipt)
    return Included(lowest, receipts, counts, reverts)


def _explain(chain: ChainClient, row: RevealTransaction, receipt: Receipt) -> Revert:
    """Ask why; the answer is for people and for the order of the next tries, so it may lack."""
    if receipt.gas_used >= row.gas_limit:
        return Revert(f"out of gas: all of {row.gas_limit} was used")
    try:
        error = chain.explain_revert(
            keeper=row.keeper,
            data=encode_reveal(row.token_ids, row.metadata_uris),
            gas_limit=row.gas_limit,
            block_number=receipt.block_number,
        )
    except ProviderError as fault:
        return Revert(f"the reason could not be read: {fault}")
    if error is None:
        return Revert("no reason: repeated at the end of its block, it works")
    return Revert(revert_reason(error), already_revealed_id(error))


# -- what a mined transaction means ---------------------------------------------------------


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
            # The block's own time if it is the newest; else now, which is close enough.
            is_newest = receipt.block_number == found.head.number
            revealed_at = found.head.mined_at if is_newest else database_now()
            confirm(row, receipt, revealed_at=revealed_at, actor=actor)
        else:
            release_reverted(row, receipt, found.reverts.get(row.tx_hash), actor=actor)
        return True
    return None


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
    logger.info(
        "reveal_confirmed",
        tx_hash=row.tx_hash,
        tokens=len(moved),
        block_number=receipt.block_number,
        gas_used=receipt.gas_used,
    )
    if len(moved) != len(row.token_ids):  # or only its batch was opened again
        by_it = Token.objects.filter(token_id__in=row.token_ids, reveal_tx_hash=row.tx_hash)
        if by_it.count() != len(row.token_ids):
            logger.error("revealed_but_not_ready", tx_hash=row.tx_hash, tokens=row.token_ids)
    return moved


def release_reverted(
    row: RevealTransaction, receipt: Receipt, revert: Revert | None, *, actor: str
) -> None:
    """Close a batch whose transaction was mined without effect; its tokens are free again.

    They wait longer each time, since every transaction costs gas, whatever comes of it; but not
    those of which the contract did not complain, if it named one. A token that reverts even by
    itself, again and again, fails (see compose for how it gets to be alone).
    """
    reason = revert.reason if revert else "the reason is not known"
    with transaction.atomic():
        if _close(row, receipt, BatchStatus.REVERTED, TransactionStatus.REVERTED):
            RevealTransaction.objects.filter(pk=row.pk).update(error=f"Reverted: {reason}")
            culprit = revert.token_id if revert else None
            set_aside(_refusals_after_revert(row, reason, culprit), actor=actor)
    logger.error(
        "reveal_reverted",
        tx_hash=row.tx_hash,
        nonce=row.nonce,
        tokens=row.token_ids,
        reason=reason,
    )


def _refusals_after_revert(
    row: RevealTransaction, reason: str, culprit: int | None
) -> list[Refusal]:
    reverts = (
        RevealBatchToken.objects.filter(token__in=row.token_ids, batch__status=BatchStatus.REVERTED)
        .values_list("token_id")
        .annotate(times=Count("pk"))
    )
    named = culprit in row.token_ids
    refusals = []
    for token_id, times in reverts:
        final = len(row.token_ids) == 1 and not named and times >= REVERTS_TO_FAIL
        what_next = "It is tried again later."
        if final:
            what_next = "It reverted by itself: look at the transaction, then retry it."
        text = f"Its reveal {row.tx_hash} was mined, but reverted: {reason} ({times} in all). "
        # Whoever is named is looked at again before anything is signed; the first time, at once.
        waits = not named or (token_id == culprit and times > 1)
        wait = backoff_seconds(times, base=timing.revert_wait, cap=300.0) if waits else 0.0
        refusals.append(Refusal(token_id, text + what_next, "reverted", final, wait))
    return refusals


def _give_up(batch: RevealBatch, why: str) -> None:
    """Close a batch that is not mined; its tokens are free again."""
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
        status=status, confirmed_at=database_now(), read_back_at=None, **mined_facts(receipt)
    )
    if row.broadcast_at is None:  # what is mined was taken, whatever nodes have said before
        RevealTransaction.objects.filter(pk=row.pk, broadcast_at=None).update(
            broadcast_at=database_now(), error=""
        )
    return True


def mined_facts(receipt: Receipt) -> dict[str, Any]:
    return {
        "block_number": receipt.block_number,
        "block_hash": receipt.block_hash,
        "gas_used": receipt.gas_used,
        "effective_gas_price_wei": receipt.effective_gas_price_wei,
        "l1_fee_wei": receipt.l1_fee_wei,
    }


def _close_batch(
    batch: RevealBatch, status: BatchStatus, was: Sequence[BatchStatus] = (BatchStatus.OPEN,)
) -> bool:
    closed = RevealBatch.objects.filter(pk=batch.pk, status__in=was).update(
        status=status,
        closed_at=database_now(),
        settled_at=None,
        to_sign=None,
        doubts={},
        replace_at=None,
        replace_by="",
    )
    RevealBatchToken.objects.filter(batch=batch, is_open=True).update(is_open=False)
    return bool(closed)
