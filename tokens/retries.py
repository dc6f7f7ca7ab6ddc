"""Put a token back into its own stage's queue, with the reason why and when to go on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from glisk.database.json_rows import as_json


@dataclass(frozen=True)
class Retry:
    """One token that waits. `counted`: the failed attempt goes into the log and timeline."""

    token_id: int
    attempts: int
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
                AS v(token_id bigint, attempts integer, wait_seconds float8, error text,
                     error_class text, counted boolean, generation_attempts integer,
                     fallback_used boolean, detail jsonb, entry jsonb)
            WHERE t.token_id = v.token_id AND t.lease_owner = %s AND t.attempts = v.attempts
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
