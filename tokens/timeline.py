"""Running totals of the timeline: how often tokens moved, how long they stayed in each state.

The timeline grows for ever, and a monitor asks several times a minute. So what it holds is added
up once, each row exactly once, and read from there: as cheap with a million tokens as with ten.
Totals only grow. They are at most two minutes old while a worker lives and no transaction lasts
longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import Any, Final

from django.db import connection, transaction

from glisk.engine.schedules import in_portions
from glisk.models import SystemState
from tokens.states import TokenStatus

KEY: Final = "timeline_totals"
# Upper bounds in seconds: of states that last a second, of outages that last a day.
BOUNDS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400)
_AT_ONCE: Final = 20_000
_BUDGET_SECONDS: Final = 20.0
# A span of its own; the others are moves, by the names of the two states.
_MINT_TO_REVEAL: Final = "mint_to_reveal"

# The newest row whose id was given a second ago, and the transactions that had begun by then:
# once all of these have ended, every id up to there is committed, or never will be.
_MARK = """
    SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
           (SELECT id FROM token_transitions
            WHERE created_at < clock_timestamp() - interval '1 second' ORDER BY id DESC LIMIT 1)
"""
# A mark of the future is another server's: this database was restored from its dump, whole.
_HAVE_ENDED = """
    SELECT %(xmax)s NOT BETWEEN pg_snapshot_xmin(snapshot)::text::bigint + 1
                            AND pg_snapshot_xmax(snapshot)::text::bigint
    FROM pg_current_snapshot() AS snapshot
"""
_PORTION = """
    SELECT max(id), count(*) FROM (
        SELECT id FROM token_transitions WHERE id > %s AND id <= %s ORDER BY id LIMIT %s
    ) AS portion
"""
_ADD_UP = """
    WITH moved AS (
        SELECT m.*, EXTRACT(EPOCH FROM m.created_at - (
            SELECT p.created_at FROM token_transitions p
            WHERE p.token_id = m.token_id AND p.id < m.id AND p.from_status <> p.to_status
            ORDER BY p.id DESC LIMIT 1
        )) AS seconds
        FROM token_transitions m
        WHERE m.id > %(after)s AND m.id <= %(upto)s AND m.from_status <> m.to_status
    ), spans AS (
        SELECT from_status || ':' || to_status AS span, seconds FROM moved
        UNION ALL
        SELECT %(reveal)s, EXTRACT(EPOCH FROM m.created_at - t.mint_timestamp)
        FROM moved m JOIN tokens_s0 t USING (token_id)
        WHERE m.from_status = 'ready' AND m.to_status = 'revealed'
    )
    SELECT span, width_bucket(GREATEST(seconds, 0)::float8, %(bounds)s::float8[]), count(*),
           COALESCE(sum(GREATEST(seconds, 0)), 0)::float8
    FROM spans GROUP BY 1, 2
"""


@dataclass
class Durations:
    """How many, how long in all, and how many up to each of `BOUNDS` (the last one: longer)."""

    number: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def __add__(self, other: Durations) -> Durations:
        buckets = map(add, self.buckets, other.buckets)
        return Durations(self.number + other.number, self.seconds + other.seconds, list(buckets))

    def cumulative(self) -> list[tuple[float, int]]:
        """Return how many were at most so long, by the bound; the last one is infinite."""
        return list(zip((*BOUNDS, math.inf), accumulate(self.buckets), strict=True))


@dataclass(frozen=True)
class TimelineTotals:
    """`moves`: from and to, an empty name for a token that is new or withdrawn."""

    moves: dict[tuple[str, str], int]
    states: dict[TokenStatus, Durations]
    mint_to_reveal: Durations


def timeline_totals() -> TimelineTotals:
    """Return what was added up so far; one query."""
    row = SystemState.objects.filter(pk=KEY).values_list("state_value", flat=True).first()
    spans = _spans(row or {})
    reveal = spans.pop(_MINT_TO_REVEAL, Durations())
    moves: dict[tuple[str, str], int] = {}
    states = {status: Durations() for status in TokenStatus}
    for span, durations in spans.items():
        source, _, target = span.partition(":")
        moves[source, target] = durations.number
        if source in states:
            states[TokenStatus(source)] += durations
    return TimelineTotals(moves, states, reveal)


def add_up_timeline() -> int:
    """Add what is new to the totals; return how many rows of the timeline it was."""
    # The second round takes what the first one has marked, if nobody writes for so long.
    return sum(
        in_portions(_add_portion, at_once=_AT_ONCE, budget_seconds=_BUDGET_SECONDS)
        for _ in range(2)
    )


def _add_portion(at_once: int) -> int:
    """Add up to `at_once` rows, and mark what may be added the next time."""
    with transaction.atomic(), connection.cursor() as cursor:
        stored = SystemState.locked(KEY)
        upto, marked = stored.get("upto", 0), stored.get("mark")
        spans, number = _spans(stored), 0
        if marked and _ask(cursor, _HAVE_ENDED, marked)[0]:
            last, number = _ask(cursor, _PORTION, [upto, marked["id"], at_once])
            if number:
                _add(cursor, spans, upto, last)
            upto = last or marked["id"]
        if marked is None or upto == marked["id"]:
            xmax, newest = _ask(cursor, _MARK)
            marked = {"xmax": xmax, "id": newest} if newest and newest > upto else None
        told = {span: vars(durations) for span, durations in spans.items()}
        totals = {"upto": upto, "mark": marked, "spans": told}
        if totals != stored:
            SystemState.put(KEY, totals)
        return int(number)


def _ask(cursor: Any, sql: str, given: Any = None) -> Any:
    cursor.execute(sql, given)
    return cursor.fetchone()


def _add(cursor: Any, spans: dict[str, Durations], after: int, upto: int) -> None:
    given = {
        "after": after,
        "upto": upto,
        "bounds": [math.nextafter(bound, math.inf) for bound in BOUNDS],  # a bound is included
        "reveal": _MINT_TO_REVEAL,
    }
    cursor.execute(_ADD_UP, given)
    for span, bucket, number, seconds in cursor.fetchall():
        durations = spans.setdefault(span, Durations())
        durations.number += number
        durations.seconds += seconds
        durations.buckets[bucket] += number


def _spans(stored: dict[str, Any]) -> dict[str, Durations]:
    return {span: Durations(**told) for span, told in stored.get("spans", {}).items()}
