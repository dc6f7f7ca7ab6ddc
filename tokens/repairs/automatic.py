"""Take up again, without a person, what failed for a reason that passes.

`tokens.moves.fail_tokens` says in `next_attempt_at` when; until then, and while the stage is paused
or the daily cap is reached, the token stays failed. It goes back like any retry: to the stage that
it failed in, with what is stored.
"""

from __future__ import annotations

from django.db import connection

from glisk.controls import list_pauses
from tokens.models import Token
from tokens.repairs.failed import stages_of
from tokens.repairs.retrying import retry_tokens
from tokens.spend import cap_reason
from tokens.states import TokenStatus

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
    due = _due_ids()
    if not due:
        return 0
    closed = {pause.stage for pause in list_pauses()}
    if cap_reason():
        closed.add("generation")
    wanted = [id_ for id_, stage in stages_of(due).items() if _STAGES[stage] not in closed]
    results = retry_tokens(token_ids=wanted, actor=ACTOR, automatic=True)
    # What stands in the way of these, only a person can mend.
    refused = [result.token_id for result in results if not result.done]
    Token.objects.filter(pk__in=refused, status=TokenStatus.FAILED).update(next_attempt_at=None)
    return len(results) - len(refused)


def _due_ids() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT token_id FROM tokens_s0 WHERE status = 'failed' "
            "AND next_attempt_at <= clock_timestamp() AND held_at IS NULL "
            "ORDER BY next_attempt_at LIMIT %s",
            [_AT_ONCE],
        )
        return [row[0] for row in cursor.fetchall()]
