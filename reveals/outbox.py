"""The outbox of reveals: nobody outside sees a transaction before it is durable.

Nonce, signature and raw bytes are stored in one commit, and only then broadcast. Signing is
arithmetic, so reserving the nonce, signing and storing need no separate commits: a crash leaves
either nothing, or a transaction that can be broadcast again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.db import connection, transaction
from django.db.models import Max, QuerySet

from glisk.clients.chain import encode_reveal
from glisk.clock import database_now
from reveals.fees import Fees
from reveals.gate import Candidate
from reveals.hurrying import take_back
from reveals.keeper import Keeper
from reveals.models import (
    BatchStatus,
    RevealBatch,
    RevealBatchToken,
    RevealRequest,
    RevealTransaction,
    TransactionStatus,
)
from tokens.models import Token
from tokens.states import TokenStatus

logger = structlog.get_logger(__name__)

FILLER_GAS = 100_000  # a reveal of nothing uses 28,587
_NONCE_LOCK = 0x474C4B4E  # advisory lock: one nonce is reserved at a time


def store_signed(
    *,
    keeper: Keeper,
    candidates: Sequence[Candidate],
    data: str,
    gas_limit: int,
    fees: Fees,
    transaction_count: int,
) -> RevealTransaction | None:
    """Reserve the next nonce for these tokens, sign, and store; return what may be broadcast.

    `transaction_count` is the keeper's number of mined transactions. Returns None if one of the
    tokens is no longer what was verified: then the batch has to be composed anew.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NONCE_LOCK])
        if not _still_ready(candidates):
            return None
        nonce = _next_nonce(keeper.address, transaction_count)
        batch = RevealBatch.objects.create(keeper=keeper.address, nonce=nonce)
        RevealBatchToken.objects.bulk_create(
            RevealBatchToken(
                batch=batch,
                token_id=candidate.token_id,
                position=position,
                metadata_uri=candidate.metadata_uri,
            )
            for position, candidate in enumerate(candidates)
        )
        row = _sign(keeper, batch, data, gas_limit, fees)
        row.token_ids = [candidate.token_id for candidate in candidates]
        row.metadata_uris = [candidate.metadata_uri for candidate in candidates]
        row.save()
        RevealRequest.objects.filter(token__in=row.token_ids).delete()
    logger.info("reveal_signed", tx_hash=row.tx_hash, nonce=nonce, tokens=len(candidates))
    return row


def store_replacement(
    *,
    keeper: Keeper,
    old: RevealTransaction,
    fees: Fees,
    token_ids: Sequence[int] | None = None,
) -> RevealTransaction:
    """Sign a call with the same nonce and higher fees, and store it.

    It reveals the same tokens, or those of them that are given: perhaps none, which only spends
    the nonce. Equal calls and fees give equal bytes: what was stored before is returned as it is.
    """
    uris = dict(zip(old.token_ids, old.metadata_uris, strict=True))
    ids = list(old.token_ids if token_ids is None else token_ids)
    data = encode_reveal(ids, [uris[token_id] for token_id in ids])
    with transaction.atomic():
        row = _sign(keeper, old.batch, data, old.gas_limit, fees)
        known = RevealTransaction.objects.filter(tx_hash=row.tx_hash).first()
        if known is not None:
            return known  # only the answer to its commit was lost
        row.token_ids, row.metadata_uris = ids, [uris[token_id] for token_id in ids]
        row.replaces = old
        row.save()
        take_back(old.batch_id)
    logger.warning(
        "reveal_replaced",
        tx_hash=row.tx_hash,
        replaces=old.tx_hash,
        nonce=old.nonce,
        left_out=sorted(set(old.token_ids) - set(ids)),
    )
    return row


def store_filler(*, keeper: Keeper, nonce: int, fees: Fees) -> RevealTransaction | None:
    """Sign and store a reveal of nothing for a nonce that nobody has; None if somebody has it.

    Others spent it once, and a reorg took that back: later nonces wait for it.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NONCE_LOCK])
        if RevealBatch.objects.filter(keeper=keeper.address, nonce=nonce).exists():
            return None
        batch = RevealBatch.objects.create(keeper=keeper.address, nonce=nonce)
        row = _sign(keeper, batch, encode_reveal([], []), FILLER_GAS, fees)
        row.token_ids, row.metadata_uris = [], []
        row.save()
    logger.error("nonce_gap_filled", tx_hash=row.tx_hash, nonce=nonce)
    return row


def mark_broadcast(row: RevealTransaction) -> None:
    """Note that the node has taken the transaction."""
    if row.broadcast_at is None:
        now = database_now()
        RevealTransaction.objects.filter(pk=row.pk, status=TransactionStatus.SIGNED).update(
            status=TransactionStatus.BROADCAST, broadcast_at=now, error=""
        )
        row.status, row.broadcast_at = TransactionStatus.BROADCAST, now


def note_refusal(row: RevealTransaction, reason: str) -> None:
    """Show on its page why no node takes a transaction, until one does."""
    RevealTransaction.objects.filter(pk=row.pk, status=TransactionStatus.SIGNED).exclude(
        error=reason
    ).update(error=reason)


def open_transactions() -> dict[int, list[RevealTransaction]]:
    """Return every transaction of every open batch, by batch in nonce order, oldest first."""
    return _by_batch(RevealTransaction.objects.filter(batch__status=BatchStatus.OPEN))


def unsettled_transactions() -> dict[int, list[RevealTransaction]]:
    """Return every transaction of the closed batches that a reorg may still reach."""
    rows = RevealTransaction.objects.filter(batch__closed_at__isnull=False, batch__settled_at=None)
    return _by_batch(rows.defer("raw_transaction"))  # 10 kB each, every two seconds


def _by_batch(rows: QuerySet[RevealTransaction]) -> dict[int, list[RevealTransaction]]:
    found: dict[int, list[RevealTransaction]] = {}
    for row in rows.select_related("batch").order_by("nonce", "pk"):
        found.setdefault(row.batch_id, []).append(row)
    return found


def closed_transactions(*, since: datetime) -> dict[int, list[RevealTransaction]]:
    """Return every transaction of the batches that were closed since then."""
    return _by_batch(RevealTransaction.objects.filter(batch__closed_at__gte=since))


def mark_settled(batch_ids: Sequence[int]) -> None:
    """Note that no reorg reaches these batches any more."""
    if batch_ids:
        RevealBatch.objects.filter(pk__in=batch_ids, closed_at__isnull=False).update(
            settled_at=database_now()
        )


def unsettle(*, keeper: str, nonce: int) -> bool:
    """Have a closed batch watched again; return whether there is a batch of this nonce at all."""
    batches = RevealBatch.objects.filter(keeper=keeper, nonce=nonce)
    batches.filter(closed_at__isnull=False).update(settled_at=None)
    return batches.exists()


def transactions_of(batch_id: int) -> list[RevealTransaction]:
    """Return every transaction that was ever signed for a batch, oldest first."""
    rows = RevealTransaction.objects.filter(batch=batch_id).select_related("batch")
    return list(rows.order_by("pk"))


def _still_ready(candidates: Sequence[Candidate]) -> bool:
    """Lock the tokens and compare them with what was verified."""
    wanted = {c.token_id: (c.prompt_author_wallet, c.image_cid, c.metadata_cid) for c in candidates}
    rows = (
        Token.objects.select_for_update()
        .filter(token_id__in=list(wanted), status=TokenStatus.READY, held_at=None)
        .exclude(batch_items__is_open=True)
        .order_by("token_id")
        .values_list("token_id", "prompt_author_wallet", "image_cid", "metadata_cid")
    )
    return {token_id: tuple(facts) for token_id, *facts in rows} == wanted


def _next_nonce(keeper: str, transaction_count: int) -> int:
    """Continue after everything that we signed and everything that the chain has mined."""
    last = RevealBatch.objects.filter(keeper=keeper).aggregate(last=Max("nonce"))["last"]
    return transaction_count if last is None else max(transaction_count, last + 1)


def _sign(
    keeper: Keeper, batch: RevealBatch, data: str, gas_limit: int, fees: Fees
) -> RevealTransaction:
    signed = keeper.sign(
        nonce=batch.nonce,
        data=data,
        gas_limit=gas_limit,
        max_fee_per_gas_wei=fees.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=fees.max_priority_fee_per_gas_wei,
    )
    return RevealTransaction(
        batch=batch,
        tx_hash=signed.tx_hash,
        raw_transaction=signed.raw,
        keeper=keeper.address,
        nonce=batch.nonce,
        gas_limit=gas_limit,
        max_fee_per_gas_wei=fees.max_fee_per_gas_wei,
        max_priority_fee_per_gas_wei=fees.max_priority_fee_per_gas_wei,
    )
