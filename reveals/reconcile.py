"""Tokens and transactions of which the chain may know more than we do: ask it, and follow it.

    questions_of (database) → ask_chain (node) → settle_answers (database)

A drain makes the middle step in a thread; `reconcile_reveals` makes all three.
`compare_transactions` does the same for transactions that are open or recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from glisk.clients.chain import ChainClient, OnChainToken, Receipt
from glisk.clock import database_now
from glisk.timing import timing
from reveals import outbox
from reveals.gate import set_aside
from reveals.keeper import keeper_address
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from reveals.pipeline.receipts import (
    close_by_receipt,
    confirm,
    look_for_receipts,
)
from reveals.pipeline.watch import MINED, Fate, follow_move, judge, look
from tokens.models import Token
from tokens.recovery.adoption import adopt
from tokens.recovery.drift import Finding, report_finding
from tokens.states import TokenStatus
from tokens.transitions.claims import Refusal

logger = structlog.get_logger(__name__)

RECENT = timedelta(days=1)
_AT_ONCE = 500


@dataclass(frozen=True)
class Question:
    """A ready token, its URI here, and every transaction that we ever signed for it."""

    token_id: int
    metadata_uri: str
    tx_hashes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    question: Question
    on_chain: OnChainToken
    receipt: Receipt | None  # of the transaction of ours that revealed it


@dataclass
class Reconciled:
    """Token ids, by what the chain says of them."""

    checked: int = 0
    unrevealed: list[int] = field(default_factory=list)  # as here: they wait for their reveal
    confirmed: list[int] = field(default_factory=list)  # by a transaction of ours
    adopted: list[int] = field(default_factory=list)  # by somebody else, with our URI
    foreign: list[int] = field(default_factory=list)  # by somebody else, with another URI
    unsettled: list[int] = field(default_factory=list)  # revealed with our URI, not adopted


def questions_of(uris: Mapping[int, str]) -> list[Question]:
    """Return what was signed for tokens with these URIs."""
    signed = RevealTransaction.objects.filter(batch__items__token__in=list(uris))
    hashes: dict[int, list[str]] = {token_id: [] for token_id in uris}
    for tx_hash, token_ids in signed.distinct().values_list("tx_hash", "token_ids"):
        for token_id in hashes.keys() & token_ids:
            hashes[token_id].append(tx_hash)
    return [Question(token_id, uri, tuple(hashes[token_id])) for token_id, uri in uris.items()]


def ask_chain(chain: ChainClient, questions: Sequence[Question]) -> list[Answer]:
    """Read what the contract and the receipts say; no database. Raises the client's errors."""
    facts = chain.tokens([question.token_id for question in questions])
    revealed = [question for question in questions if facts[question.token_id].revealed]
    hashes = sorted({tx_hash for question in revealed for tx_hash in question.tx_hashes})
    receipts = chain.receipts(hashes) if hashes else {}
    return [
        Answer(
            question,
            facts[question.token_id],
            next(
                (
                    receipt
                    for tx_hash in question.tx_hashes
                    if (receipt := receipts.get(tx_hash)) is not None and receipt.succeeded
                ),
                None,
            ),
        )
        for question in questions
    ]


def settle_answers(answers: Sequence[Answer], *, actor: str) -> Reconciled:
    """Follow the chain: revealed by us, by others with our URI, or with a foreign one.

    A foreign URI cannot be changed: the token fails with both URIs in the reason, and the drift
    report names it.
    """
    report = Reconciled(checked=len(answers))
    report.unrevealed = [a.question.token_id for a in answers if not a.on_chain.revealed]
    mined = {a.receipt.tx_hash: a.receipt for a in answers if a.on_chain.revealed and a.receipt}
    for receipt in mined.values():
        report.confirmed += sorted(_confirm(receipt, actor=actor))
    adoptable: dict[int, OnChainToken] = {}
    refusals: list[Refusal] = []
    for answer in answers:
        token_id, on_chain = answer.question.token_id, answer.on_chain
        if not on_chain.revealed or token_id in report.confirmed:
            continue
        if on_chain.uri == answer.question.metadata_uri:
            adoptable[token_id] = on_chain
        else:
            report.foreign.append(token_id)
            refusals.append(_foreign(answer))
    report.adopted = sorted(adopt(adoptable, actor=actor))
    report.unsettled = sorted(adoptable.keys() - set(report.adopted))
    set_aside(refusals, actor=actor)
    for refusal in refusals:
        report_finding(Finding("uri_differs", refusal.token_id, refusal.reason))
    if report.confirmed or report.adopted:
        logger.warning("reveals_reconciled", confirmed=report.confirmed, adopted=report.adopted)
    return report


def unclear(token_ids: Iterable[int], *, reason: str) -> list[Refusal]:
    """Let tokens wait that the chain called revealed a moment ago; then it is asked again."""
    text = f"The chain calls it revealed, but not how: {reason}. It is asked again."
    return [
        Refusal(token_id, text, "already_revealed", wait_seconds=timing.unclear_wait)
        for token_id in token_ids
    ]


def reconcile_reveals(
    chain: ChainClient, *, actor: str, token_ids: Iterable[int] | None = None
) -> Reconciled:
    """Compare every ready token (or these) with the chain, and follow it.

    Safe at any time, beside the drain as well: tokens in an open batch are left to its receipt.
    Raises the errors of the chain's client; what was settled by then stays.
    """
    ready = Token.objects.filter(status=TokenStatus.READY).order_by("token_id")
    if token_ids is not None:
        ready = ready.filter(token_id__in=list(token_ids))
    tokens = list(ready.exclude(batch_items__is_open=True))
    report = Reconciled()
    for start in range(0, len(tokens), _AT_ONCE):
        uris = {t.token_id: t.token_uri or "" for t in tokens[start : start + _AT_ONCE]}
        part = settle_answers(ask_chain(chain, questions_of(uris)), actor=actor)
        report.checked += part.checked
        for name in ("unrevealed", "confirmed", "adopted", "foreign", "unsettled"):
            getattr(report, name).extend(getattr(part, name))
    return report


def _confirm(receipt: Receipt, *, actor: str) -> set[int]:
    """Enter a transaction of ours whose batch was given up: it was mined all the same."""
    row = RevealTransaction.objects.select_related("batch").get(tx_hash=receipt.tx_hash)
    return confirm(
        row,
        receipt,
        revealed_at=timezone.now(),
        actor=actor,
        was=(BatchStatus.OPEN, BatchStatus.SUPERSEDED, BatchStatus.REVERTED),
    )


def _foreign(answer: Answer) -> Refusal:
    by, who = "a transaction that is not ours", " Find out who else holds KEEPER_ROLE."
    if answer.receipt is not None:  # signed before the token was made anew
        by, who = f"{answer.receipt.tx_hash}, which we signed", ""
    text = (
        f"It is revealed on chain already, by {by}, with {answer.on_chain.uri[:200]!r}; here it is "
        f"{answer.question.metadata_uri!r}. A reveal cannot be changed.{who}"
    )
    return Refusal(answer.question.token_id, text, "already_revealed", final=True)


@dataclass
class TransactionsCompared:
    """Transaction hashes, by what the chain says of them."""

    checked: int = 0  # batches
    pending: list[str] = field(default_factory=list)  # not mined, or not deep enough
    entered: list[str] = field(default_factory=list)  # mined, and noted now
    moved: list[str] = field(default_factory=list)  # in another block than noted
    doubtful: list[str] = field(default_factory=list)  # noted as mined, and not so on chain


def compare_transactions(
    chain: ChainClient, *, actor: str, recent: timedelta = RECENT
) -> TransactionsCompared:
    """Enter what was mined, and have the worker watch again what is not on chain as noted.

    Nothing is sent or opened again here: one look of one node is no proof, and the worker looks
    several times (pipeline.watch). Raises the errors of the chain's client.
    """
    report = TransactionsCompared()
    recently = RevealBatch.objects.filter(closed_at__gte=database_now() - recent)
    closed = outbox.with_transactions(recently)
    open_ = [batch for batch in outbox.open_batches() if batch.signed]
    report.checked = len(closed) + len(open_)
    _compare_closed(chain, report, closed)
    _compare_open(chain, report, open_, actor)
    return report


def _compare_closed(
    chain: ChainClient, report: TransactionsCompared, batches: list[RevealBatch]
) -> None:
    if not batches:
        return
    sight, keeper = look(chain, batches), keeper_address()
    for batch in batches:
        mined = [row for row in batch.signed if row.status in MINED]
        fate = judge(batch, sight, keeper=keeper)
        if fate is Fate.MOVED:
            follow_move(batch, sight)
            report.moved.append(mined[0].tx_hash)
        elif fate is Fate.DOUBTFUL:
            outbox.unsettle(keeper=batch.keeper, nonce=batch.nonce)
            # The one that we call mined, or the newest of a nonce that others spent.
            report.doubtful.append((mined[0] if mined else batch.newest).tx_hash)


def _compare_open(
    chain: ChainClient, report: TransactionsCompared, batches: list[RevealBatch], actor: str
) -> None:
    if not batches:
        return
    rows = [row for batch in batches for row in batch.signed]
    found = look_for_receipts(chain, rows, confirmations=settings.REVEAL_CONFIRMATIONS)
    for batch in batches:
        closed = close_by_receipt(batch.signed, found, actor=actor)
        (report.entered if closed else report.pending).append(batch.newest.tx_hash)
