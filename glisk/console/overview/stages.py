"""What waits and what moves in each stage, and what each token of it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

from glisk.timing import timing
from tokens.models.job import OPEN_JOB_STATUSES
from tokens.states import ACTIVE, TokenStatus

STAGES: dict[str, tuple[TokenStatus, ...]] = {
    "generation": (TokenStatus.DETECTED, TokenStatus.GENERATING),
    "upload": (TokenStatus.UPLOADING,),
    "reveal": (TokenStatus.READY,),
}
STAGE_OF = {status: stage for stage, statuses in STAGES.items() for status in statuses}

# What a token waits for when that is no error of its own, whose class is named else.
HELD, SENT, LOOKUP, WORKING, QUEUE = "held", "sent", "lookup", "working", "queue"

# Somebody is at it: a worker, or the vendor that makes its image.
_WORKS = "(t.lease_owner IS NOT NULL OR j.id IS NOT NULL AND t.next_attempt_at IS NULL)"
# The tokens under way are few; they are found by an index over the states. What belongs to one of
# them is found by its id (why by `|| ''` and `::text`: see tokens.transitions.claims).
_GROUPS = """
    SELECT t.status,
           CASE WHEN t.held_at IS NOT NULL THEN 'held'
                WHEN b.id IS NOT NULL THEN 'sent'
                WHEN j.status = 'created' AND j.created_at
                    < statement_timestamp() - make_interval(secs => %(looked_up)s) THEN 'lookup'
                WHEN {works} THEN 'working'
                WHEN t.error_class <> '' THEN t.error_class
                ELSE 'queue' END AS cause,
           {works} OR b.id IS NOT NULL AS in_work,
           count(*),
           count(*) FILTER (WHERE t.status_changed_at <= statement_timestamp() - make_interval(
               secs => %(stuck)s + CASE t.status WHEN 'ready' THEN %(company)s ELSE 0 END)),
           min(t.status_changed_at),
           (min(ARRAY[EXTRACT(EPOCH FROM t.status_changed_at), t.token_id]))[2]::bigint
    FROM tokens_s0 t
    LEFT JOIN reveal_batch_tokens b ON b.token_id = t.token_id AND b.is_open::text = 'true'
    LEFT JOIN image_generation_jobs j ON j.token_id = t.token_id AND j.status || '' = ANY(%(open)s)
    WHERE t.status = ANY(%(active)s) {one}
    GROUP BY 1, 2, 3
"""


@dataclass(frozen=True)
class Group:
    """Tokens of a state that wait for the same; `stuck` of them for longer than they should."""

    status: TokenStatus
    cause: str
    is_in_work: bool
    number: int
    stuck: int
    oldest_at: datetime
    oldest_id: int

    @property
    def stage(self) -> str:
        return STAGE_OF[self.status]


@dataclass(frozen=True)
class StageLoad:
    """Tokens that wait in a stage, tokens in work, and since when the oldest is in its state."""

    stage: str
    pending: int
    active: int
    oldest_at: datetime | None


def groups(token_id: int | None = None) -> list[Group]:
    """Return the tokens under way (or one of them) by state and cause, the oldest first."""
    given: dict[str, Any] = {
        "active": [status.value for status in ACTIVE],
        "token_id": token_id,
        "open": [status.value for status in OPEN_JOB_STATUSES],
        "looked_up": timing.lookup_shown_after,
        "stuck": settings.STUCK_AFTER_SECONDS,
        "company": settings.BATCH_REVEAL_WAIT_SECONDS,  # a ready token may wait for others
    }
    one = "" if token_id is None else "AND t.token_id = %(token_id)s"
    with connection.cursor() as cursor:
        cursor.execute(_GROUPS.format(one=one, works=_WORKS), given)
        found = [Group(TokenStatus(row[0]), *row[1:]) for row in cursor.fetchall()]
    order = list(STAGES)
    return sorted(found, key=lambda group: (order.index(group.stage), group.oldest_at))


def stage_loads(found: Sequence[Group]) -> list[StageLoad]:
    """Return every stage in a token's order."""
    return [
        StageLoad(
            stage,
            pending=sum(g.number for g in found if g.stage == stage and not g.is_in_work),
            active=sum(g.number for g in found if g.stage == stage and g.is_in_work),
            oldest_at=min((g.oldest_at for g in found if g.stage == stage), default=None),
        )
        for stage in STAGES
    ]
