"""The outbox of reveals: nobody outside sees a transaction before it is durable.

    batch with nonce and call → signed bytes stored → broadcast

Each is a commit of its own, and what comes next stands in the batch's row: what is to be signed
for it, when it is sent, whether it is to be replaced. A replacement has the same nonce and higher
fees. Nobody but the drain signs: whoever wants a replacement marks the batch.

At the end stands what the drain's steps share of it: what was read in this turn, and their base.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from django.db import connection, transaction
from django.db.models import Exists, Max, OuterRef, Prefetch, Q, QuerySet
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.clients.chain import ChainClient
from glisk.clients.signers import VENDOR as SIGNER
from glisk.clients.signers import SignedTransaction
from glisk.clock import database_now
from glisk.engine.broker import notify
from glisk.engine.step import Done, Failed, Step
from glisk.errors import as_provider_error, backoff_seconds
from reveals.gate import Candidate, ReadyTokens, read_ready_tokens
from reveals.keeper import Fees, Keeper
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
from tokens.transitions import REVEAL_CHANNEL

logger = structlog.get_logger(__name__)

FILLER_GAS = 100_000  # a reveal of nothing uses 28,587
_NONCE_LOCK = 0x474C4B4E  # advisory lock: one nonce is reserved at a time


@dataclass(frozen=True)
class Unsigned:
    """A call that is to be signed for a batch's nonce."""

    token_ids: list[int]
    metadata_uris: list[str]
    gas_limit: int
    max_fee_per_gas_wei: int
    max_priority_fee_per_gas_wei: int

    @classmethod
    def read(cls, batch: RevealBatch) -> Unsigned:
        return cls(**(batch.to_sign or {}))

    @classmethod
    def of(cls, candidates: Sequence[Candidate], *, gas_limit: int, fees: Fees) -> Unsigned:
        ids = [candidate.token_id for candidate in candidates]
        uris = [candidate.metadata_uri for candidate in candidates]
        return cls(ids, uris, gas_limit, **asdict(fees))


class Doubt(StrEnum):
    """What chain or node may have against a batch; believed when it has lasted."""

    REFUSED = "refused"  # nodes refuse the newest transaction, or call its nonce spent
    LATE = "late"  # a mint is missing
    SPENT = "spent"  # its nonce is, and none of its transactions has a receipt
    FORMER = "former"  # its keeper is not that of today, and it is not mined
    GAP = "gap"  # the chain waits for a nonce below it
    GONE = "gone"  # it is closed, and its transaction is not on chain any more


# -- a nonce, and what is to be signed for it -----------------------------------------------


def reserve_batch(
    *,
    keeper: str,
    candidates: Sequence[Candidate],
    unsigned: Unsigned,
    transaction_count: int,
    reviewed_at: datetime,
) -> RevealBatch | None:
    """Reserve the next nonce for a call that reveals these tokens.

    `transaction_count` is the keeper's number of mined transactions, `reviewed_at` the time when
    the chain was asked. Returns None if one of the tokens is no longer what was verified: then the
    batch has to be composed anew.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NONCE_LOCK])
        if not _still_ready(candidates):
            return None
        batch = RevealBatch.objects.create(
            keeper=keeper,
            nonce=_next_nonce(keeper, transaction_count),
            to_sign=asdict(unsigned),
            reviewed_at=reviewed_at,
        )
        RevealBatchToken.objects.bulk_create(
            RevealBatchToken(
                batch=batch, token_id=c.token_id, position=position, metadata_uri=c.metadata_uri
            )
            for position, c in enumerate(candidates)
        )
    return batch


def reserve_filler(*, keeper: str, nonce: int, fees: Fees) -> None:
    """Have a reveal of nothing signed for a nonce, unless somebody has it.

    Others spent it once, and a reorg took that back: later nonces wait for it.
    """
    unsigned = Unsigned.of([], gas_limit=FILLER_GAS, fees=fees)
    _, is_new = RevealBatch.objects.get_or_create(
        keeper=keeper, nonce=nonce, defaults={"to_sign": asdict(unsigned)}
    )
    if is_new:
        logger.error("nonce_gap_filled", nonce=nonce)


def order_replacement(
    old: RevealTransaction, *, fees: Fees, token_ids: Sequence[int], reviewed_at: datetime
) -> None:
    """Have a call with the same nonce and other fees signed, unless the batch went on meanwhile.

    `old` must still be the newest one, and its batch not recalled since it was read. The call
    reveals the same tokens, or those of them that are given: perhaps none, which only spends the
    nonce.
    """
    uris = dict(zip(old.token_ids, old.metadata_uris, strict=True))
    ids = list(token_ids)
    unsigned = Unsigned(ids, [uris[i] for i in ids], old.gas_limit, **asdict(fees))
    with transaction.atomic():
        batch = RevealBatch.objects.select_for_update().get(pk=old.batch_id)
        newest = RevealTransaction.objects.filter(batch=batch).latest("pk")
        is_known = newest.pk == old.pk and batch.reviewed_at == old.batch.reviewed_at
        if batch.status == BatchStatus.OPEN and batch.to_sign is None and is_known:
            RevealBatch.objects.filter(pk=batch.pk).update(
                to_sign=asdict(unsigned), reviewed_at=reviewed_at, send_at=None, failures=0
            )


def want_replacement(batch_id: int, *, actor: str) -> None:
    """Have a batch's newest transaction replaced now, instead of when it has taken too long."""
    RevealBatch.objects.filter(pk=batch_id, replace_at=None).update(
        replace_at=timezone.now(), replace_by=actor, send_at=None
    )


def drop_unsigned(batch: RevealBatch) -> None:
    """Give up what nobody can sign any more: its keeper is not that of today.

    Where nothing was signed before, nobody outside knows the nonce, and it is free again.
    """
    with transaction.atomic():
        locked = RevealBatch.objects.select_for_update().get(pk=batch.pk)
        if locked.transactions.exists():
            RevealBatch.objects.filter(pk=locked.pk).update(to_sign=None)
        else:
            locked.delete()
        notify(REVEAL_CHANNEL)  # its tokens, or its older bytes, go at once
    logger.warning("unsigned_reveal_dropped", keeper=batch.keeper, nonce=batch.nonce)


def store_signed(batch: RevealBatch, signed: SignedTransaction) -> bool:
    """Store the bytes; return whether they are still what is to be signed for the batch.

    A signature may differ each time. What another drain stored a moment ago has left nothing to be
    signed; these bytes are forgotten then, and nobody outside has seen them.
    """
    with transaction.atomic():
        locked = RevealBatch.objects.select_for_update().filter(pk=batch.pk).first()
        if locked is None or locked.status != BatchStatus.OPEN or locked.to_sign != batch.to_sign:
            return False
        unsigned = Unsigned.read(locked)
        rows = locked.transactions.defer("raw_transaction").order_by("pk")
        old = rows.last()
        if not rows.filter(tx_hash=signed.tx_hash).exists():
            rows.create(
                batch=locked,
                tx_hash=signed.tx_hash,
                raw_transaction=signed.raw,
                keeper=locked.keeper,
                nonce=locked.nonce,
                replaces=old,
                **asdict(unsigned),
            )
        settled = (Doubt.REFUSED, Doubt.LATE)
        RevealBatch.objects.filter(pk=locked.pk).update(
            to_sign=None,
            send_at=None,
            failures=0,
            doubts={name: since for name, since in locked.doubts.items() if name not in settled},
            replace_at=None,
            replace_by="",
        )
        RevealRequest.objects.filter(token__in=unsigned.token_ids).delete()
    logger.log(
        logging.WARNING if old else logging.INFO,
        "reveal_replaced" if old else "reveal_signed",
        tx_hash=signed.tx_hash,
        nonce=batch.nonce,
        tokens=len(unsigned.token_ids),
        replaces=old and old.tx_hash,
    )
    return True


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


# -- sending --------------------------------------------------------------------------------


def send_later(batch: RevealBatch, seconds: float, **changes: Any) -> None:
    """Send nothing more of an open batch for so long.

    Unless it was recalled, or reviewed by another drain, since it was read: what was seen before
    that is void.
    """
    RevealBatch.objects.filter(
        pk=batch.pk, status=BatchStatus.OPEN, reviewed_at=batch.reviewed_at
    ).update(send_at=database_now() + timedelta(seconds=seconds), **changes)


def review_all_now() -> None:
    """Have the chain asked about everything open before it is sent, and that at once.

    Doubts begin anew: nobody looked meanwhile, so that they lasted is not known.
    """
    RevealBatch.objects.exclude(doubts={}).update(doubts={})
    RevealBatch.objects.filter(status=BatchStatus.OPEN).update(reviewed_at=None, send_at=None)


def mark_broadcast(row: RevealTransaction) -> None:
    """Note that the node has taken the transaction."""
    RevealTransaction.objects.filter(pk=row.pk, status=TransactionStatus.SIGNED).update(
        status=TransactionStatus.BROADCAST, broadcast_at=database_now(), error=""
    )


def doubt_lasts(batch: RevealBatch, doubt: Doubt, holds: bool) -> float:
    """Note in its row whether a doubt holds; return for how many seconds it has."""
    if holds and doubt in batch.doubts:
        return doubted_for(batch, doubt)
    # Only this one: other steps of the turn may have noted theirs.
    with connection.cursor() as cursor:
        if holds:
            batch.doubts[doubt] = database_now().timestamp()
            cursor.execute(
                "UPDATE reveal_batches SET doubts = jsonb_build_object(%s::text, %s::float8) "
                "|| doubts WHERE id = %s",
                [doubt, batch.doubts[doubt], batch.pk],
            )
        elif batch.doubts.pop(doubt, None) is not None:
            cursor.execute(
                "UPDATE reveal_batches SET doubts = doubts - %s::text WHERE id = %s",
                [doubt, batch.pk],
            )
    return 0.0


def doubted_for(batch: RevealBatch, doubt: Doubt) -> float:
    """Return for how many seconds a doubt has held; 0 if it does not."""
    now = database_now().timestamp()
    return now - float(batch.doubts.get(doubt, now))


# -- what is open, what is watched ----------------------------------------------------------


def open_batches() -> list[RevealBatch]:
    """Return the open batches in nonce order, each with its transactions (`signed`)."""
    return with_transactions(RevealBatch.objects.filter(status=BatchStatus.OPEN))


def unsettled() -> QuerySet[RevealBatch]:
    """Select the closed batches that a reorg may still reach."""
    return RevealBatch.objects.filter(closed_at__isnull=False, settled_at=None)


def with_transactions(batches: QuerySet[RevealBatch]) -> list[RevealBatch]:
    # 10 kB of bytes each, which only the sending needs
    rows = RevealTransaction.objects.defer("raw_transaction").order_by("pk")
    ordered = batches.order_by("nonce", "pk")
    return list(ordered.prefetch_related(Prefetch("transactions", rows)))


def unsettle(*, keeper: str, nonce: int) -> bool:
    """Have a closed batch watched again; return whether there is a batch of this nonce at all."""
    batches = RevealBatch.objects.filter(keeper=keeper, nonce=nonce)
    batches.filter(closed_at__isnull=False).update(settled_at=None)
    return batches.exists()


def in_flight(token_id: str) -> Exists:
    """Return the condition that an open batch reveals the token (see tokens.registry)."""
    return Exists(RevealBatchToken.objects.filter(token=OuterRef(token_id), is_open=True))


def perhaps_revealed(token_id: str) -> Exists:
    """Return the condition that a batch reveals the token, or may yet (see tokens.registry)."""
    places = RevealBatchToken.objects.filter(token=OuterRef(token_id))
    return Exists(places.filter(Q(is_open=True) | Q(batch__settled_at=None)))


# -- the drain's steps ----------------------------------------------------------------------

W = TypeVar("W")
D = TypeVar("D")


class Shared:
    """The keeper, the chain, and what was read of the database in this turn."""

    def __init__(self) -> None:
        self.keeper = Keeper.from_settings()
        self.chain = ChainClient.from_settings()
        self.signer = Breaker(SIGNER)
        self.open: Sequence[RevealBatch] = ()  # in nonce order
        self.ready = ReadyTokens()

    def read(self, *, paused: bool = False) -> None:
        self.open = open_batches()
        self.ready = ReadyTokens() if paused else read_ready_tokens()

    @property
    def ours(self) -> list[RevealBatch]:
        """The open batches of today's keeper."""
        return [batch for batch in self.open if batch.keeper == self.keeper.address]

    @property
    def signer_is_away(self) -> bool:
        """Whether a batch waits for the signer: then no more tokens are bound to batches."""
        return self.signer.is_open and any(batch.to_sign is not None for batch in self.ours)


class RevealStep(Step[W, D]):
    """A step without leases: one drain in all holds the reveal slot."""

    most = 1
    failures = 0  # in a row

    def __init__(self, owner: str, shared: Shared) -> None:
        super().__init__(owner)
        self.shared, self.keeper, self.chain = shared, shared.keeper, shared.chain

    def settle(self, done: Sequence[Done[W, D]], failed: Sequence[Failed[W]]) -> None:
        for each in done:
            self.done(each.work, each.value)
            self.failures = 0
        for lost in failed:
            self.failed(lost.work, lost.error)

    def done(self, work: W, value: D) -> None:
        """Write what came of one call."""

    def failed(self, work: W, error: Exception) -> None:
        """Ask again later: mostly it is the node that does not answer."""
        self.failures += 1
        fault = as_provider_error(error, vendor="chain")
        logger.warning(
            "chain_unavailable",
            step=self.name,
            error=str(fault),
            exc_info=None if fault is error else error,
        )
        self.pause(backoff_seconds(self.failures, base=0.5, cap=10.0))
