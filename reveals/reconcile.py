"""Tokens and transactions of which the chain may know more than we do: ask it, and follow it.

    questions_of (database) → ask_chain (node) → settle_answers (database)

A drain makes the middle step in a thread; `reconcile_reveals` makes all three.
`compare_transactions` does the same for transactions that are open or recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog

from glisk.clients.chain import ChainClient, OnChainToken, Receipt
from glisk.clock import database_now
from glisk.database import undone_if
from reveals import outbox
from reveals.gate import set_aside
from reveals.keeper import keeper_address
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from reveals.pipeline.receipts import close_by_receipt, confirm, look_for_receipts
from reveals.pipeline.watch import MINED, Fate, follow_move, judge, look
from tokens.models import Token
from tokens.recovery.adoption import adopt
from tokens.recovery.drift import Finding, report_finding
from tokens.states import TokenStatus
from tokens.transitions.claims import Refusal

logger = structlog.get_logger(__name__)

_RECENT = timedelta(days=1)
_AT_ONCE = 500


class Found(StrEnum):
    """What the chain says of a ready token, or of a transaction, and what was done about it."""

    UNREVEALED = "unrevealed, as here"
    CONFIRMED = "revealed by a transaction of ours, noted now"
    ADOPTED = "revealed by somebody else with our URI, adopted"
    FOREIGN = "revealed by somebody else with a foreign URI, failed"
    UNSETTLED = "revealed with our URI, but not adopted: left to the worker"

    AS_NOTED = "as noted here"
    PENDING = "on their way"  # not mined, or not deep enough
    ENTERED = "mined, noted now"
    MOVED = "in another block than noted, corrected"
    DOUBTFUL = "not on chain as noted: left to the worker, which looks again"


@dataclass(frozen=True)
class Question:
    """A ready token, its URI here, and every transaction that we ever signed for it."""

    token_id: int
    metadata_uri: str
    tx_hashes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    token_id: int
    metadata_uri: str
    on_chain: OnChainToken
    receipt: Receipt | None  # of the transaction of ours that revealed it


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
    answers = []
    for question in questions:
        ours = [receipts.get(tx_hash) for tx_hash in question.tx_hashes]
        receipt = next((r for r in ours if r is not None and r.succeeded), None)
        on_chain = facts[question.token_id]
        answers.append(Answer(question.token_id, question.metadata_uri, on_chain, receipt))
    return answers


def settle_answers(answers: Sequence[Answer], *, actor: str) -> dict[int, Found]:
    """Follow the chain: revealed by us, by others with our URI, or with a foreign one.

    A foreign URI cannot be changed: the token fails with both URIs in the reason, and the drift
    report names it.
    """
    found = {answer.token_id: Found.UNREVEALED for answer in answers}
    for receipt in {a.receipt.tx_hash: a.receipt for a in answers if a.receipt}.values():
        found |= dict.fromkeys(sorted(_confirm(receipt, actor=actor)), Found.CONFIRMED)
    others = [a for a in answers if a.on_chain.revealed and found[a.token_id] != Found.CONFIRMED]
    ours = {a.token_id: a.on_chain for a in others if a.on_chain.uri == a.metadata_uri}
    found |= dict.fromkeys(ours, Found.UNSETTLED)
    found |= dict.fromkeys(sorted(adopt(ours, actor=actor)), Found.ADOPTED)
    refusals = [_foreign(answer) for answer in others if answer.token_id not in ours]
    set_aside(refusals, actor=actor)
    for refusal in refusals:
        found[refusal.token_id] = Found.FOREIGN
        report_finding(Finding("uri_differs", refusal.token_id, refusal.reason))
    if followed := [i for i, what in found.items() if what in (Found.CONFIRMED, Found.ADOPTED)]:
        logger.warning("reveals_reconciled", tokens=followed)
    return found


def reconcile_reveals(
    chain: ChainClient,
    *,
    actor: str,
    token_ids: Iterable[int] | None = None,
    dry_run: bool = False,
) -> dict[int, Found]:
    """Compare every ready token (or these) with the chain, and follow it.

    Safe at any time, beside the drain as well: tokens in an open batch are left to its receipt.
    A dry run takes back what it did.
    Raises the errors of the chain's client; what was settled by then stays.
    """
    ready = Token.objects.filter(status=TokenStatus.READY).order_by("token_id")
    if token_ids is not None:
        ready = ready.filter(token_id__in=list(token_ids))
    tokens = list(ready.exclude(batch_items__is_open=True))
    found: dict[int, Found] = {}
    for start in range(0, len(tokens), _AT_ONCE):
        uris = {t.token_id: t.token_uri or "" for t in tokens[start : start + _AT_ONCE]}
        answers = ask_chain(chain, questions_of(uris))
        with undone_if(dry_run):
            found |= settle_answers(answers, actor=actor)
    return found


def _confirm(receipt: Receipt, *, actor: str) -> set[int]:
    """Enter a transaction of ours whose batch was given up: it was mined all the same."""
    return confirm(
        RevealTransaction.objects.select_related("batch").get(tx_hash=receipt.tx_hash),
        receipt,
        revealed_at=database_now(),
        actor=actor,
        was=(BatchStatus.OPEN, BatchStatus.SUPERSEDED, BatchStatus.REVERTED),
    )


def _foreign(answer: Answer) -> Refusal:
    by, who = "a transaction that is not ours", " Find out who else holds KEEPER_ROLE."
    if answer.receipt is not None:  # signed before the token was made anew
        by, who = f"{answer.receipt.tx_hash}, which we signed", ""
    text = (
        f"It is revealed on chain already, by {by}, with {answer.on_chain.uri[:200]!r}; here it is "
        f"{answer.metadata_uri!r}. A reveal cannot be changed.{who}"
    )
    return Refusal(answer.token_id, text, "already_revealed", final=True)


def compare_transactions(
    chain: ChainClient, *, actor: str, dry_run: bool = False
) -> dict[str, Found]:
    """Enter what was mined, and have the worker watch again what is not on chain as noted.

    Nothing is sent or opened again here: one look of one node is no proof, and the worker looks
    several times (pipeline.watch). Returns one hash of each batch: the mined one, or the newest.
    A dry run takes back what it did. Raises the errors of the chain's client.
    """
    found: dict[str, Found] = {}
    recent = RevealBatch.objects.filter(closed_at__gte=database_now() - _RECENT)
    if closed := outbox.with_transactions(recent):
        sight, keeper = look(chain, closed), keeper_address()
        for batch in closed:
            told = next((row for row in batch.signed if row.status in MINED), batch.newest)
            fate = judge(batch, sight, keeper=keeper)
            found[told.tx_hash] = Found.AS_NOTED
            if fate is Fate.MOVED:
                with undone_if(dry_run):
                    follow_move(batch, sight)
                found[told.tx_hash] = Found.MOVED
            elif fate is Fate.DOUBTFUL:
                with undone_if(dry_run):
                    outbox.unsettle(keeper=batch.keeper, nonce=batch.nonce)
                found[told.tx_hash] = Found.DOUBTFUL
    if signed := [batch for batch in outbox.open_batches() if batch.signed]:
        rows = [row for batch in signed for row in batch.signed]
        included = look_for_receipts(chain, rows, explains=True)
        for batch in signed:
            with undone_if(dry_run):
                is_closed = close_by_receipt(batch.signed, included, actor=actor)
            found[batch.newest.tx_hash] = Found.ENTERED if is_closed else Found.PENDING
    return found
