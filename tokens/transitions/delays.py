"""When a token is taken up again: after a failed attempt, after a refusal, after a hold.

A worker claims no token before its `next_attempt_at`, and no held one (tokens.transitions.claims).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.utils import timezone

from tokens.models import Token
from tokens.models.job import OPEN_JOB_STATUSES
from tokens.states import TokenStatus
from tokens.transitions.status import as_json


@dataclass(frozen=True)
class Retry:
    """One token that waits. `counted`: the failed attempt goes into the log and timeline."""

    token_id: int
    lease_number: int
    wait_seconds: float
    error: str
    error_class: str
    counted: bool = True
    generation_attempts: int | None = None
    fallback_used: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def retry_later(retries: Sequence[Retry], *, owner: str) -> set[int]:
    """Release leased tokens until their next attempt; return those that were still ours.

    An attempt that is not counted (the vendor is down for everybody) leaves no trace but the
    current reason, so that an outage of hours does not fill the log.
    """
    if not retries:
        return set()
    rows = [
        {
            **vars(r),
            "entry": [{"error_class": r.error_class, "error": r.error, **r.detail}]
            if r.counted
            else [],
        }
        for r in retries
    ]
    sql = """
        WITH released AS (
            UPDATE tokens_s0 t
            SET lease_owner = NULL, lease_expires_at = NULL,
                next_attempt_at = clock_timestamp() + make_interval(secs => v.wait_seconds),
                attempts = GREATEST(t.attempts - 1, 0),
                generation_attempts = COALESCE(v.generation_attempts, t.generation_attempts),
                fallback_used = COALESCE(v.fallback_used, t.fallback_used),
                generation_error = v.error, error_class = v.error_class,
                error_log = t.error_log || v.entry, updated_at = clock_timestamp()
            FROM json_to_recordset(%s::json)
                AS v(token_id bigint, lease_number integer, wait_seconds float8, error text,
                     error_class text, counted boolean, generation_attempts integer,
                     fallback_used boolean, detail jsonb, entry jsonb)
            WHERE t.token_id = v.token_id AND t.lease_owner = %s AND t.lease_number = v.lease_number
            RETURNING t.token_id, t.status, v.error, v.counted, v.detail, t.generation_attempts
        ), noted AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, status, status, error, generation_attempts, %s, detail,
                   clock_timestamp()
            FROM released WHERE counted
        )
        SELECT token_id FROM released
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [as_json(rows), owner, owner])
        return {row[0] for row in cursor.fetchall()}


@dataclass(frozen=True)
class Refusal:
    """A ready token that may not be revealed yet. `counted`: the token itself is at fault."""

    token_id: int
    wait_seconds: float
    reason: str
    error_class: str
    counted: bool


def postpone_reveals(refusals: Sequence[Refusal], *, actor: str) -> None:
    """Let ready tokens wait; a reason that is new goes into the timeline, once."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH postponed AS (
                UPDATE tokens_s0 t
                -- One moment for all: what waits equally long comes back together.
                SET next_attempt_at = statement_timestamp() + make_interval(secs => v.wait_seconds),
                    attempts = t.attempts + CASE WHEN v.counted THEN 1 ELSE 0 END,
                    generation_error = v.reason, error_class = v.error_class,
                    updated_at = clock_timestamp()
                FROM json_to_recordset(%s::json)
                    AS v(token_id bigint, wait_seconds float8, counted boolean, reason text,
                         error_class text)
                -- Joined here, what was there is read before it is overwritten.
                JOIN (
                    SELECT token_id, error_class FROM tokens_s0
                    WHERE token_id = ANY(%s) AND status = 'ready' FOR UPDATE
                ) AS b USING (token_id)
                WHERE t.token_id = v.token_id AND t.status = 'ready'
                RETURNING t.token_id, t.attempts, v.reason, v.error_class, b.error_class AS was
            )
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT p.token_id, 'ready', 'ready', p.reason, p.attempts, %s, '{}', clock_timestamp()
            FROM postponed p WHERE p.was <> p.error_class
            """,
            [as_json(vars(r) for r in refusals), [r.token_id for r in refusals], actor],
        )


def forget_refusals(token_ids: Collection[int], *, but: str) -> None:
    """Count the attempts of ready tokens anew, unless the last refusal was of the class `but`."""
    Token.objects.filter(token_id__in=token_ids, status=TokenStatus.READY, attempts__gt=0).exclude(
        error_class=but
    ).update(attempts=0)


def delay_mints(mint_event_ids: Sequence[int], *, seconds: float) -> None:
    """Let nothing new begin for the tokens of these mints for a while.

    What runs may end, and an image that may be paid for is collected: the vendor deletes it.
    """
    if not mint_event_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 SET next_attempt_at = GREATEST(next_attempt_at, "
            "clock_timestamp() + make_interval(secs => %s)) "
            "WHERE mint_event_id = ANY(%s) AND lease_owner IS NULL "
            "AND status IN ('detected', 'generating', 'uploading', 'ready') "
            "AND NOT EXISTS (SELECT FROM image_generation_jobs j "
            "WHERE j.token_id = tokens_s0.token_id AND j.status = ANY(%s))",
            [seconds, list(mint_event_ids), [status.value for status in OPEN_JOB_STATUSES]],
        )


def forget_delay(token_ids: Collection[int], *, status: TokenStatus) -> None:
    """Let tokens in a state wait for no moment: failed ones then wait for a person."""
    Token.objects.filter(pk__in=token_ids, status=status).update(
        next_attempt_at=None, updated_at=timezone.now()
    )


def hold(token_id: int, *, reason: str) -> None:
    """Let nothing new begin for a token until it is released."""
    Token.objects.filter(pk=token_id).update(
        held_at=timezone.now(), hold_reason=reason, updated_at=timezone.now()
    )


def release_hold(token_id: int) -> None:
    Token.objects.filter(pk=token_id).update(
        held_at=None, hold_reason="", updated_at=timezone.now()
    )
