"""The last day by the hour: what was minted, revealed and failed, and how long a reveal took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from glisk.api.short_memory import ShortMemory
from glisk.clock import database_now
from tokens.states import TokenStatus
from tokens.totals import failures_24h

HOURS = 24
REMEMBERED_SECONDS = 10.0
# Of an hour's or a day's reveals, the newest so many say how long they took: sorting is bounded.
_MOST_TIMED = 2000

# Every branch is a range of an index: token_status_minted, token_ended.
_BY_HOUR = """
    SELECT h.begins_at, minted.number, revealed.number, timed.p50, timed.p95
    FROM generate_series(%(first)s::timestamptz, %(last)s, interval '1 hour') AS h (begins_at)
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM tokens_s0
        WHERE status = ANY(%(all)s) AND mint_timestamp >= h.begins_at
          AND mint_timestamp < h.begins_at + interval '1 hour'
    ) AS minted
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM tokens_s0
        WHERE status = 'revealed' AND status_changed_at >= h.begins_at
          AND status_changed_at < h.begins_at + interval '1 hour'
    ) AS revealed
    CROSS JOIN LATERAL (
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
        FROM (
            SELECT extract(epoch FROM revealed_at - mint_timestamp)::float8 AS seconds
            FROM tokens_s0
            WHERE status = 'revealed' AND status_changed_at >= h.begins_at
              AND status_changed_at < h.begins_at + interval '1 hour'
            ORDER BY status_changed_at DESC LIMIT %(most)s
        ) AS newest
    ) AS timed
    ORDER BY h.begins_at
"""
_OVERALL = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
           percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds)
    FROM (
        SELECT extract(epoch FROM revealed_at - mint_timestamp)::float8 AS seconds
        FROM tokens_s0 WHERE status = 'revealed' AND status_changed_at >= %(since)s
        ORDER BY status_changed_at DESC LIMIT %(most)s
    ) AS newest
"""


@dataclass(frozen=True)
class Hour:
    """One hour (UTC); the times from mint to reveal are those of its reveals, in seconds."""

    begins_at: datetime
    minted: int
    revealed: int
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True)
class LastDay:
    """The last 24 hours, the one that runs included; `failures` by class, the most first."""

    hours: tuple[Hour, ...]
    failures: tuple[tuple[str, int], ...]
    p50_seconds: float | None
    p95_seconds: float | None

    @property
    def minted(self) -> int:
        return sum(hour.minted for hour in self.hours)

    @property
    def revealed(self) -> int:
        return sum(hour.revealed for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(number for _, number in self.failures)

    @property
    def failed_share(self) -> float:
        """The failed share of what ended."""
        ended = self.revealed + self.failed
        return self.failed / ended if ended else 0.0


_memory: ShortMemory[LastDay] = ShortMemory(seconds=REMEMBERED_SECONDS)


def last_day() -> LastDay:
    """Return the last day; three queries, or none if somebody asked some seconds ago."""
    return _memory.get("day", _read)


def _read() -> LastDay:
    now = database_now()
    last = now.replace(minute=0, second=0, microsecond=0)
    first = last - timedelta(hours=HOURS - 1)
    given: dict[str, Any] = {
        "first": first,
        "last": last,
        "since": now - timedelta(hours=HOURS),
        "all": [str(status) for status in TokenStatus],
        "most": _MOST_TIMED,
    }
    with connection.cursor() as cursor:
        cursor.execute(_BY_HOUR, given)
        hours = tuple(Hour(*row) for row in cursor.fetchall())
        cursor.execute(_OVERALL, given)
        p50, p95 = cursor.fetchone()
    failures = tuple((failure.error_class, failure.number) for failure in failures_24h())
    return LastDay(hours=hours, failures=failures, p50_seconds=p50, p95_seconds=p95)
