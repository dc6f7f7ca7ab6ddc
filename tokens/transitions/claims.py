"""Claims and leases: who works on which token, for how long, and what if they die.

A claim is one UPDATE over rows that nobody else holds (SKIP LOCKED), chosen once: as a plain
subquery the planner could choose anew per row and claim more than was asked for. The attempt
is counted at once, so that a token which kills its worker runs out of attempts like any other;
a claim that is given back in order is not counted. `attempts` is the lease's fencing token.
"""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from tokens.models.job import OPEN_JOB_STATUSES
from tokens.states import TokenStatus, check_transition

# A token that was claimed this often without any outcome kills its workers: it is set aside.
MAX_CLAIMS = 20

_OPEN = [status.value for status in OPEN_JOB_STATUSES]


@dataclass(frozen=True)
class Claim:
    """A claimed token as it stood at the moment of the claim."""

    token_id: int
    attempts: int
    was: str
    prompt: str
    generation_attempts: int
    fallback_used: bool


_RETURNING = """
    RETURNING t.token_id, t.attempts, c.was, t.prompt, t.generation_attempts, t.fallback_used
"""


# Few rows: at most one for each call under way.
_WITH_OPEN_JOB = """
              AND token_id IN (
                  SELECT token_id FROM image_generation_jobs WHERE status = ANY(%s))
"""
_NOT_HELD = """
              AND (held_at IS NULL OR (
                  -- No EXISTS: it may be hashed, which reads the open jobs of all tokens.
                  SELECT true FROM image_generation_jobs j
                  WHERE j.token_id = tokens_s0.token_id AND j.status = ANY(%s) LIMIT 1))
"""


def claim_for_generation(
    *, owner: str, limit: int, lease_seconds: float, resuming: bool = False
) -> list[Claim]:
    """Claim the oldest tokens that want an image, and mark new ones as generating.

    A held token is not claimed, but for a prediction of its that may be paid for: the vendor
    deletes the image after an hour, and it would have to be paid for again. `resuming`: only
    tokens with such a prediction, which need no new call.
    """
    check_transition(TokenStatus.DETECTED, TokenStatus.GENERATING)
    sql = f"""
        WITH c AS MATERIALIZED (
            SELECT token_id, status AS was FROM tokens_s0
            WHERE status IN ('detected', 'generating') AND lease_owner IS NULL
              AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
              {_WITH_OPEN_JOB if resuming else _NOT_HELD}
            ORDER BY mint_timestamp, token_id
            LIMIT %s FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE tokens_s0 t
            SET status = 'generating', lease_owner = %s,
                lease_expires_at = clock_timestamp() + make_interval(secs => %s),
                attempts = t.attempts + 1, next_attempt_at = NULL,
                status_changed_at =
                    CASE WHEN c.was = 'detected' THEN clock_timestamp() ELSE t.status_changed_at END
            FROM c WHERE t.token_id = c.token_id {_RETURNING}
        ), noted AS (
            INSERT INTO token_transitions
                (token_id, from_status, to_status, reason, attempt, actor, detail, created_at)
            SELECT token_id, 'detected', 'generating', '', attempts, %s, '{{}}', clock_timestamp()
            FROM claimed WHERE was = 'detected'
        )
        SELECT * FROM claimed ORDER BY token_id
    """  # noqa: S608 - no value is formatted in
    return _claim(sql, [_OPEN, limit, owner, lease_seconds, owner])


def claim_for_upload(*, owner: str, limit: int, lease_seconds: float) -> list[Claim]:
    """Claim the oldest tokens whose image waits for its upload."""
    sql = f"""
        WITH c AS MATERIALIZED (
            SELECT token_id, status AS was FROM tokens_s0
            WHERE status = 'uploading' AND lease_owner IS NULL AND held_at IS NULL
              AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
            ORDER BY mint_timestamp, token_id
            LIMIT %s FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE tokens_s0 t
            SET lease_owner = %s,
                lease_expires_at = clock_timestamp() + make_interval(secs => %s),
                attempts = t.attempts + 1, next_attempt_at = NULL
            FROM c WHERE t.token_id = c.token_id {_RETURNING}
        )
        SELECT * FROM claimed ORDER BY token_id
    """  # noqa: S608 - no value is formatted in
    return _claim(sql, [limit, owner, lease_seconds])


def _claim(sql: str, parameters: list[Any]) -> list[Claim]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [Claim(*row) for row in cursor.fetchall()]


def seconds_until_due() -> tuple[float | None, float | None]:
    """Return the seconds until the next waiting token and the next sample; None if none is.

    Tokens that are due already do not count: a claim takes them, or there is no place for them.
    A sample that is due has 0.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXTRACT(EPOCH FROM token.due_at - clock_timestamp()),
                   EXTRACT(EPOCH FROM sample.due_at - clock_timestamp())
            FROM (SELECT min(next_attempt_at) AS due_at FROM tokens_s0
                  WHERE status IN ('detected', 'generating', 'uploading') AND lease_owner IS NULL
                  AND held_at IS NULL AND next_attempt_at > clock_timestamp()) token,
                 (SELECT min(COALESCE(busy_until, created_at)) AS due_at FROM prompt_samples
                  WHERE status IN ('created', 'calling', 'submitted')) sample
            """
        )
        token, sample = cursor.fetchone()
    return _seconds(token), _seconds(sample)


def _seconds(value: Any) -> float | None:
    return None if value is None else max(0.0, float(value))


def renew_leases(*, owner: str, token_ids: list[int], lease_seconds: float) -> int:
    """Prolong the leases of the tokens that the owner knows it works on; return how many.

    A claim whose commit the owner never heard of is not among them: it runs out by itself.
    """
    return _execute(
        "UPDATE tokens_s0 SET lease_expires_at = clock_timestamp() + make_interval(secs => %s) "
        "WHERE lease_owner = %s AND token_id = ANY(%s)",
        [lease_seconds, owner, token_ids],
    )


def release_claims(*, owner: str, token_ids: list[int]) -> int:
    """Give claims back in order: the attempt is not counted, stored ids stay."""
    if not token_ids:
        return 0
    return _execute(
        "UPDATE tokens_s0 SET lease_owner = NULL, lease_expires_at = NULL, "
        "attempts = GREATEST(attempts - 1, 0) WHERE lease_owner = %s AND token_id = ANY(%s)",
        [owner, token_ids],
    )


def release_leases_of(prefix: str) -> int:
    """Free the tokens of a process tree that died; the attempt stays counted."""
    return _execute(
        "UPDATE tokens_s0 SET lease_owner = NULL, lease_expires_at = NULL "
        "WHERE lease_owner IS NOT NULL AND starts_with(lease_owner, %s)",
        [prefix],
    )


def rescue_stalled() -> int:
    """Free the tokens whose lease ran out; stage and stored ids stay, so work resumes."""
    return _execute(
        "UPDATE tokens_s0 SET lease_owner = NULL, lease_expires_at = NULL "
        "WHERE lease_owner IS NOT NULL AND lease_expires_at < clock_timestamp()",
        [],
    )


def count_generation_attempts(*, owner: str, token_ids: list[int]) -> None:
    """Count a call with the vendor that comes next for each of these claimed tokens."""
    _execute(
        "UPDATE tokens_s0 SET generation_attempts = generation_attempts + 1 "
        "WHERE token_id = ANY(%s) AND lease_owner = %s",
        [token_ids, owner],
    )


def note_error(token_id: int, error: str, *, owner: str) -> bool:
    """Write why a claimed token's image is not known yet; return whether it is still ours."""
    return bool(
        _execute(
            "UPDATE tokens_s0 SET generation_error = %s "
            "WHERE token_id = %s AND lease_owner = %s AND status = 'generating'",
            [error, token_id, owner],
        )
    )


def _execute(sql: str, parameters: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)
