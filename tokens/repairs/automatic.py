"""Take up again, without a person, what failed for a reason that passes.

`tokens.transitions.status.fail_tokens` says in `next_attempt_at` when; until then, and while the
stage is paused or the daily cap is reached, the token stays failed. It goes back like any retry: to
the stage that it failed in, with what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from django.db import connection

from glisk.pauses import list_pauses
from tokens.pipeline.spend import cap_reason
from tokens.repairs.retry import retry_tokens, stages_of
from tokens.states import TokenStatus
from tokens.transitions.delays import forget_delay

ACTOR = "automatic retry"
_AT_ONCE = 500

_STAGES = {
    TokenStatus.DETECTED: "generation",
    TokenStatus.GENERATING: "generation",
    TokenStatus.UPLOADING: "upload",
    TokenStatus.READY: "reveal",
}


def retry_what_is_due() -> int:
    """Put the failed tokens back whose time has come; return how many."""
    wanted = list(islice(_due_ids(), _AT_ONCE))
    if not wanted:
        return 0
    results = retry_tokens(token_ids=wanted, actor=ACTOR, automatic=True)
    # What stands in the way of these, only a person can mend.
    refused = [result.token_id for result in results if not result.done]
    forget_delay(refused, status=TokenStatus.FAILED)
    return len(results) - len(refused)


def _due_ids() -> Iterator[int]:
    """Give the failed tokens whose time has come and whose stage may go on, oldest first."""
    closed: set[str] | None = None
    passed: tuple[datetime | None, int] = (None, 0)
    while rows := _due_after(*passed):
        passed = rows[-1]
        closed = _closed_stages() if closed is None else closed
        stages = stages_of([token_id for _, token_id in rows])
        yield from (
            token_id
            for _, token_id in rows
            if token_id in stages and _STAGES[stages[token_id]] not in closed
        )


def _due_after(moment: datetime | None, token_id: int) -> list[tuple[datetime, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT next_attempt_at, token_id FROM tokens_s0 WHERE status = 'failed' "
            "AND next_attempt_at <= clock_timestamp() AND held_at IS NULL "
            "AND (next_attempt_at, token_id) > (COALESCE(%s::timestamptz, '-infinity'), %s) "
            "ORDER BY next_attempt_at, token_id LIMIT %s",
            [moment, token_id, _AT_ONCE],
        )
        found: list[tuple[datetime, int]] = cursor.fetchall()
    return found


def _closed_stages() -> set[str]:
    closed = {pause.stage for pause in list_pauses()}
    return closed | {"generation"} if cap_reason() else closed
