"""Which tokens may go next, and what becomes of those that the gate turned away."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from reveals.gate import Candidate
from reveals.models import RevealTransaction
from tokens.states import TokenStatus
from tokens.transitions.claims import Refusal, postpone_reveals
from tokens.transitions.status import Move, move_tokens

logger = structlog.get_logger(__name__)

# The class of a refusal by simulation; those of artefacts have their errors' classes.
WOULD_REVERT = "would_revert"
# So long a gateway that had a token's files is believed to have them: they cannot change.
VERIFIED_SECONDS = 3600
# A token that was refused this often is worth an operator's look: the log says so, at each try.
ALARM_AFTER_REFUSALS = 8


@dataclass(frozen=True)
class Waiting:
    """A ready token that is in no open batch, and since when it has been ready.

    `verified_at`: when its files, as they are now, were found right; None: not lately. `reverts`:
    how many of its transactions were mined without effect; `company`: how many tokens the smallest
    of them had, itself included.
    """

    candidate: Candidate
    ready_since: datetime
    verified_at: datetime | None = None
    reverts: int = 0
    company: int = 0
    requested: bool = False  # by an operator: it waits for no company


@dataclass(frozen=True)
class ReadyTokens:
    """The ready tokens that wait, requested ones first."""

    waiting: Sequence[Waiting] = ()
    more_wait: bool = False  # than were read
    due_in: float | None = None


def read_ready_tokens() -> ReadyTokens:
    # Files are checked ahead, so that a place in flight never waits for a gateway.
    limit = settings.BATCH_REVEAL_MAX_TOKENS * (settings.REVEAL_MAX_IN_FLIGHT + 1)
    due_in = seconds_until_due()
    requested = requested_tokens(settings.BATCH_REVEAL_MAX_TOKENS)
    first = {entry.candidate.token_id for entry in requested}
    others = waiting_tokens(limit)
    waiting = requested + [w for w in others if w.candidate.token_id not in first]
    return ReadyTokens(waiting, len(others) == limit, due_in)


# Plain SQL, since every turn asks this: the ORM needs 1 ms to build it.
_SELECT = """
    SELECT t.token_id, t.prompt_author_wallet, t.image_cid, t.metadata_cid,
           m.block_number, m.block_hash, t.status_changed_at, t.attempts, t.error_class,
           v.verified_at
    FROM tokens_s0 t LEFT JOIN mint_events m ON m.id = t.mint_event_id
    LEFT JOIN reveal_verifications v
        ON v.token_id = t.token_id
        AND (v.image_cid, v.metadata_cid) = (t.image_cid, t.metadata_cid)
        AND v.verified_at > statement_timestamp() - make_interval(secs => %s)
    WHERE t.status = 'ready'
"""
_PLACES = "SELECT FROM reveal_batch_tokens b WHERE b.token_id = t.token_id AND b.is_open"
_FREE = f"{_SELECT} AND t.held_at IS NULL AND NOT EXISTS ({_PLACES})"
_IN_BATCH = f"{_SELECT} AND t.token_id = ANY(%s) AND EXISTS ({_PLACES} AND b.batch_id = %s)"
_DUE = "AND (t.next_attempt_at IS NULL OR t.next_attempt_at <= statement_timestamp())"
_REQUESTED = "AND t.token_id IN (SELECT token_id FROM reveal_requests)"
_OLDEST_FIRST = "ORDER BY t.mint_timestamp, t.token_id"


def waiting_tokens(limit: int) -> list[Waiting]:
    """Return the ready tokens that are due, not held and in no open batch, oldest mint first."""
    return _fetch(f"{_FREE} {_DUE} {_OLDEST_FIRST} LIMIT %s", [limit])


def requested_tokens(limit: int) -> list[Waiting]:
    """Return those that an operator wants revealed now, oldest mint first."""
    found = _fetch(f"{_FREE} {_DUE} {_REQUESTED} {_OLDEST_FIRST} LIMIT %s", [limit])
    return [replace(entry, requested=True) for entry in found]


def tokens_by_id(token_ids: Iterable[int]) -> list[Candidate]:
    """Return those of these tokens that may be revealed, due or not, oldest mint first."""
    found = _fetch(f"{_FREE} AND t.token_id = ANY(%s) {_OLDEST_FIRST}", [list(token_ids)])
    return [entry.candidate for entry in found]


def _fetch(sql: str, parameters: list[Any]) -> list[Waiting]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [VERIFIED_SECONDS, *parameters])
        rows = cursor.fetchall()
    reverts = _reverts([row[0] for row in rows if row[8] == "reverted"])
    # A ready token has both CIDs (a database check).
    return [
        Waiting(
            Candidate(
                token_id, wallet, image_cid or "", metadata_cid or "", block, block_hash, refusals
            ),
            ready_since,
            verified_at,
            *reverts.get(token_id, (0, 0)),
        )
        for (
            token_id,
            wallet,
            image_cid,
            metadata_cid,
            block,
            block_hash,
            ready_since,
            refusals,
            _error_class,
            verified_at,
        ) in rows
    ]


def _reverts(token_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return how often each was mined without effect, and in how small a company."""
    if not token_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.token_id, count(*), min(cardinality(x.token_ids)) "
            "FROM reveal_batch_tokens b JOIN reveal_transactions x USING (batch_id) "
            "WHERE b.token_id = ANY(%s) AND x.status = 'reverted' GROUP BY b.token_id",
            [list(token_ids)],
        )
        return {token_id: (times, company) for token_id, times, company in cursor.fetchall()}


def candidates_of(row: RevealTransaction) -> list[Candidate]:
    """Return the tokens of an open transaction that are still what was signed.

    A batch that was opened again may have lost some: to another batch, or to a repair.
    """
    signed = dict(zip(row.token_ids, row.metadata_uris, strict=True))
    found = _fetch(_IN_BATCH, [row.token_ids, row.batch_id])
    candidates = [entry.candidate for entry in found]
    return [c for c in candidates if c.metadata_uri == signed[c.token_id]]


def note_verified(candidates: Sequence[Candidate]) -> None:
    """Note that the files of these tokens were found right, if they still are what they have."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO reveal_verifications (token_id, image_cid, metadata_cid, verified_at)
            SELECT t.token_id, t.image_cid, t.metadata_cid, clock_timestamp()
            FROM tokens_s0 t
            JOIN unnest(%s::bigint[], %s::text[], %s::text[])
                AS v(token_id, image_cid, metadata_cid)
                USING (token_id, image_cid, metadata_cid)
            FOR KEY SHARE OF t
            ON CONFLICT (token_id) DO UPDATE SET image_cid = EXCLUDED.image_cid,
                metadata_cid = EXCLUDED.metadata_cid, verified_at = EXCLUDED.verified_at
            """,
            [
                [c.token_id for c in candidates],
                [c.image_cid for c in candidates],
                [c.metadata_cid for c in candidates],
            ],
        )


def seconds_until_due() -> float | None:
    """Return the seconds until the next ready token that waits may be tried, None if none does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXTRACT(EPOCH FROM min(next_attempt_at) - clock_timestamp()) FROM tokens_s0 "
            "WHERE status = 'ready' AND held_at IS NULL AND next_attempt_at > clock_timestamp()"
        )
        row = cursor.fetchone()
    return None if row is None or row[0] is None else max(0.0, float(row[0]))


def set_aside(refusals: Sequence[Refusal], *, actor: str) -> None:
    """Let turned-away tokens wait, or fail those that waiting cannot mend."""
    if not refusals:
        return
    final = [
        Move(
            token_id=refusal.token_id,
            reason=refusal.reason,
            fields={"generation_error": refusal.reason, "error_class": refusal.error_class},
        )
        for refusal in refusals
        if refusal.final
    ]
    waiting = [refusal for refusal in refusals if not refusal.final]
    with transaction.atomic():
        if final:
            move_tokens(final, source=TokenStatus.READY, target=TokenStatus.FAILED, actor=actor)
        if waiting:
            postpone_reveals(waiting, actor=actor)
    for refusal in refusals:
        logger.log(
            logging.ERROR if refusal.final or refusal.alarming else logging.WARNING,
            "reveal_refused",
            token_id=refusal.token_id,
            error_class=refusal.error_class,
            final=refusal.final,
            reason=refusal.reason,
        )
