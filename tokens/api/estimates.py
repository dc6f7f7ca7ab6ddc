"""How long a token will take: what the last ones took, and who is before it in line."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connection

from glisk.api.short_memory import ShortMemory
from glisk.engine.heartbeat import ALIVE_SECONDS
from tokens.pipeline.places import WORKERS, places_of
from tokens.states import TokenStatus

SAMPLE: Final = 100  # the newest reveals
LONGEST_LINE: Final = 10_000  # counted no further
_OUT: Final = """
    SELECT substr(state_key, 9) FROM system_state
    WHERE starts_with(state_key, 'breaker:') AND state_value ->> 'state' = 'open'
"""
_STOPS: Final = {
    TokenStatus.DETECTED: ("replicate", "pinata", "chain", "gateway"),
    TokenStatus.GENERATING: ("replicate", "pinata", "chain", "gateway"),
    TokenStatus.UPLOADING: ("pinata", "chain", "gateway"),
    TokenStatus.READY: ("chain", "gateway"),
}


@dataclass(frozen=True)
class Pace:
    """Median seconds from the entry into a state to the reveal, and what stands still now.

    `generation` is the median time that an image takes, `places` how many are made at once.
    """

    to_reveal: dict[str, float] = field(default_factory=dict)
    generation: float = 0.0
    places: int = 1
    stopped: frozenset[str] = frozenset()

    def seconds(
        self, *, status: str, since: datetime, now: datetime, position: int | None
    ) -> int | None:
        """Return the estimated seconds to the reveal, at least 1; 0 if it is revealed.

        None where nothing can be said: no token was revealed yet, this one failed, or a vendor
        that it needs is out.
        """
        if status == TokenStatus.REVEALED:
            return 0
        if status not in self.to_reveal or not self.stopped.isdisjoint(_STOPS[TokenStatus(status)]):
            return None
        left = self.to_reveal[status] - (now - since).total_seconds()
        if status == TokenStatus.DETECTED and position is not None:
            left += max(0, position - self.places) / self.places * self.generation
        return max(1, round(left))


_pace: ShortMemory[Pace] = ShortMemory(seconds=10, grace=20)


def pace() -> Pace:
    """Return the pace of the newest reveals; ten seconds old, more only while it is measured."""
    return _pace.get("pace", measure_pace)


def measure_pace() -> Pace:
    """Measure it: two queries."""
    sql = """
        WITH newest AS (
            SELECT token_id, revealed_at FROM tokens_s0
            WHERE status = 'revealed' AND revealed_at IS NOT NULL AND adopted_uri IS NULL
            ORDER BY token_id DESC LIMIT %s
        ), entered AS (
            SELECT n.token_id, n.revealed_at, t.to_status, max(t.created_at) AS at
            FROM newest n JOIN token_transitions t USING (token_id)
            WHERE t.from_status <> t.to_status
            GROUP BY 1, 2, 3
        )
        SELECT to_status,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM revealed_at - at))
        FROM entered WHERE to_status <> 'revealed' GROUP BY to_status
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [SAMPLE])
        to_reveal = {status: max(0.0, float(seconds)) for status, seconds in cursor.fetchall()}
        cursor.execute(f"SELECT ARRAY({_OUT}), ({WORKERS})", [ALIVE_SECONDS])
        stopped, workers = cursor.fetchone()
    generation = to_reveal.get("generating", 0.0) - to_reveal.get("uploading", 0.0)
    return Pace(to_reveal, max(0.0, generation), places_of(workers), frozenset(stopped))
