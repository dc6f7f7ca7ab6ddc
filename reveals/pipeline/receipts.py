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
from glisk.errors import ProviderError, backoff_seconds
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
# What is known of a transaction from its receipt.
MINED_FACTS = ("block_number", "block_hash", "gas_used", "effective_gas_price_wei", "l1_fee_wei")


class Receipts(RevealStep[list[RevealBatch], "Included"]):
    def claim(self, limit: int) -> Sequence[list[RevealBatch]]:
        signed = [batch for batch in self.shared.open if batch.signed]
        return [signed] if signed else ()

    def call(self, work: list[RevealBatch]) -> Included:
        rows = [row for batch in work for row in batch.signed]
        return look_for_receipts(self.chain, rows, explains=True)

    def done(self, work: list[RevealBatch], value: Included) -> None:
        still_open = [batch for batch in work if not self._settle(batch, value)]
        ours = [batch for batch in still_open if batch.keeper == self.keeper.address]
        if ours:  # does the chain wait for a nonce below all of ours (see watch)?
            gap = value.transaction_counts[self.keeper.address] < ours[0].nonce
            outbox.doubt_lasts(ours[0], Doubt.GAP, gap)
        if self.failures:  # a node that was away may have lost its pool
            RevealBatch.objects.filter(status=BatchStatus.OPEN).update(send_at=None)
        self.pause(timing.receipt_poll)

    def _settle(self, batch: RevealBatch, found: Included) -> bool:
        """Close the batch if its fate is sure; return whether it is closed."""
        closed = close_by_receipt(batch.signed, found, actor=self.owner)
        if closed is not None:
            outbox.doubt_lasts(batch, Doubt.SPENT, holds=False)
            return closed
        spent = found.transaction_counts[batch.keeper] > batch.nonce
        age = (database_now() - batch.newest.signed_at).total_seconds()
        # Nobody can replace what a former keeper signed, and perhaps that one has lost its role or
        # its funds. Should it be mined after all, it reveals what was verified, or nothing at all.
        is_former = not spent and batch.keeper != self.keeper.address
        abandoned = is_former and age >= settings.TRANSACTION_TIMEOUT_SECONDS
        others = "The nonce was spent by a transaction that this program did not sign."
        former = "The keeper was changed before it was mined; nobody can replace it."
        return self._gives_up(batch, Doubt.SPENT, spent, others) or self._gives_up(
            batch, Doubt.FORMER, abandoned, former
        )

    def _gives_up(self, batch: RevealBatch, doubt: Doubt, holds: bool, why: str) -> bool:
        """Free the tokens of a batch that is not mined, once that is sure; return whether it is."""
        if outbox.doubt_lasts(batch, doubt, holds) < timing.superseded_after or not holds:
            return False
        rows = RevealTransaction.objects.filter(batch=batch)
        if rows.count() > len(batch.signed):
            return False  # more was signed for it, by now, than was asked for
        with transaction.atomic():
            if _close_batch(batch, BatchStatus.SUPERSEDED):
                rows.update(status=TransactionStatus.REPLACED, error=why)
        logger.error("reveal_given_up", keeper=batch.keeper, nonce=batch.nonce, reason=why)
        return True


# -- reading --------------------------------------------------------------------------------


# Why a mined transaction had no effect, and the token that the contract named, if it did.
Revert = tuple[str, int | None]


@dataclass(frozen=True)
class Included:
    head: Block
    receipts: Mapping[str, Receipt | None]
    transaction_counts: Mapping[str, int]  # mined, by keeper
    reverts: dict[str, Revert] = field(default_factory=dict)

    def is_deep(self, receipt: Receipt) -> bool:
        """Tell whether it has its confirmations."""
        return self.head.number - receipt.block_number + 1 >= settings.REVEAL_CONFIRMATIONS


def look_for_receipts(
    chain: ChainClient, rows: Sequence[RevealTransaction], *, explains: bool = False
) -> Included:
    """Read the receipts of every hash, in one round trip for each keeper; no database.

    `explains`: reverts that have their confirmations. Raises `ChainSetupError` on a chain that is
    not ours: what it lacks says nothing.
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
    found = Included(min(heads, key=lambda head: head.number), receipts, counts)
    for row in rows if explains else ():
        receipt = receipts[row.tx_hash]
        if receipt is not None and not receipt.succeeded and found.is_deep(receipt):
            found.reverts[row.tx_hash] = _explain(chain, row, receipt)
    return found


def _explain(chain: ChainClient, row: RevealTransaction, receipt: Receipt) -> Revert:
    """Ask why; the answer is for people and for the order of the next tries, so it may lack."""
    if receipt.gas_used >= row.gas_limit:
        return f"out of gas: all of {row.gas_limit} was used", None
    try:
        error = chain.explain_revert(
            keeper=row.keeper,
            data=encode_reveal(row.token_ids, row.metadata_uris),
            gas_limit=row.gas_limit,
            block_number=receipt.block_number,
        )
    except ProviderError as fault:
        return f"the reason could not be read: {fault}", None
    if error is None:
        return "no reason: repeated at the end of its block, it works", None
    return revert_reason(error), already_revealed_id(error)


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
        if not found.is_deep(receipt):
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
    fields = {
        "reveal_tx_hash": row.tx_hash,
        "revealed_at": revealed_at,
        "generation_error": None,
        "error_class": "",
    }
    detail = {"tx_hash": row.tx_hash, "block_number": receipt.block_number}
    with transaction.atomic():
        if not _close(row, receipt, BatchStatus.CONFIRMED, TransactionStatus.CONFIRMED, was):
            return set()
        moved = move_tokens(
            [Move(token_id=token_id, fields=fields, detail=detail) for token_id in row.token_ids],
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
    reason, culprit = revert or ("the reason is not known", None)
    with transaction.atomic():
        if _close(row, receipt, BatchStatus.REVERTED, TransactionStatus.REVERTED):
            RevealTransaction.objects.filter(pk=row.pk).update(error=f"Reverted: {reason}")
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
            what_next = "It reverts alone: check the transaction, then retry it."
        text = f"Its reveal {row.tx_hash} was mined, but reverted: {reason} ({times} in all). "
        # Whoever is named is looked at again before anything is signed; the first time, at once.
        waits = not named or (token_id == culprit and times > 1)
        wait = backoff_seconds(times, base=timing.revert_wait, cap=300.0) if waits else 0.0
        refusals.append(Refusal(token_id, text + what_next, "reverted", final, wait))
    return refusals


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
    # What is mined was taken, whatever nodes have said before.
    RevealTransaction.objects.filter(pk=row.pk, broadcast_at=None).update(
        broadcast_at=database_now(), error=""
    )
    return True


def mined_facts(receipt: Receipt) -> dict[str, Any]:
    return {name: getattr(receipt, name) for name in MINED_FACTS}


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
