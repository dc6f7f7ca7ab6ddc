"""Rate limits towards the vendors, kept in the database and honoured by every process together.

A sliding window: how many calls were let through in each second of the last minute. A call may
start some seconds after it was let through, so the window is longer by that slack, and no
60 seconds ever hold more starts than the limit. Places are taken for a whole batch of calls by
one statement, under the row's lock, by the database's clock.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import accumulate

from django.db import connection

WINDOW_SECONDS = 60

_TAKE = """
    WITH held AS MATERIALIZED (
        SELECT state_value AS used FROM system_state WHERE state_key = %(key)s FOR UPDATE
    ), clock AS MATERIALIZED (
        SELECT used, EXTRACT(EPOCH FROM clock_timestamp())::float8 AS now FROM held
    ), recent AS MATERIALIZED (
        SELECT c.now, floor(c.now)::bigint AS second,
               COALESCE(jsonb_object_agg(u.key, u.value) FILTER (WHERE u.key IS NOT NULL), '{}')
                   AS used,
               COALESCE(sum(u.value::integer), 0) AS spent,
               min(u.key::bigint) AS oldest
        FROM clock c
        LEFT JOIN LATERAL jsonb_each(c.used) u
            ON abs(u.key::bigint - floor(c.now)) <= %(window)s
        GROUP BY c.now
    ), granted AS MATERIALIZED (
        SELECT *, LEAST(%(wanted)s, GREATEST(%(limit)s - spent, 0) / %(unit)s * %(unit)s)::integer
            AS number
        FROM recent
    )
    UPDATE system_state s
    SET updated_at = clock_timestamp(),
        state_value = CASE WHEN number = 0 THEN g.used ELSE g.used || jsonb_build_object(
            second::text, COALESCE((g.used ->> second::text)::integer, 0) + number) END
    FROM granted g WHERE s.state_key = %(key)s
    RETURNING number, COALESCE(oldest, second) + %(window)s + 1 - now
"""


class RateLimit:
    """One process's access to one vendor's limit; `per_minute` 0 is no limit."""

    def __init__(self, vendor: str, *, per_minute: int, slack_seconds: int = 0) -> None:
        self.key = f"rate:{vendor}"
        self.per_minute = per_minute
        self._window = WINDOW_SECONDS + slack_seconds
        self._free_at = 0.0

    @property
    def seconds_until_free(self) -> float:
        """Return after how many seconds asking again is worth it; 0 if it is now."""
        return max(0.0, self._free_at - time.monotonic())

    def take(self, wanted: int, *, unit: int = 1) -> int:
        """Take places for calls that start now; return how many there are.

        If there are fewer than wanted, it is a multiple of `unit` (calls that go together). In a
        transaction the others wait until it ends, so it should end soon.
        """
        if wanted <= 0 or not self.per_minute:
            return max(wanted, 0)
        if self.seconds_until_free > 0:
            return 0
        granted, wait = self._ask(wanted, min(unit, self.per_minute))
        if granted < wanted:
            self._free_at = time.monotonic() + max(wait, 0.05)
        return granted

    def take_whole(self, sizes: Sequence[int]) -> int:
        """Take places for groups of calls, in order; return how many groups may start whole."""
        places = self.take(sum(sizes), unit=max(sizes, default=1))
        return sum(used <= places for used in accumulate(sizes))

    def _ask(self, wanted: int, unit: int) -> tuple[int, float]:
        parameters: dict[str, str | int] = {
            "key": self.key,
            "window": self._window,
            "wanted": wanted,
            "limit": self.per_minute,
            "unit": unit,
        }
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, parameters)
            row = cursor.fetchone()
            if row is None:
                cursor.execute(
                    "INSERT INTO system_state (state_key, state_value, updated_at) "
                    "VALUES (%s, '{}', clock_timestamp()) ON CONFLICT DO NOTHING",
                    [self.key],
                )
                cursor.execute(_TAKE, parameters)
                row = cursor.fetchone()
        return int(row[0]), float(row[1])
