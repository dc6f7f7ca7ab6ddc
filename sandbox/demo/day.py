"""Spread a demo's tokens over the last day, so that pictures of the admin show one.

Only times are moved: what happened, happened. The newest tokens stay where they are, and their
pages tell the truth to the millisecond.
"""

from __future__ import annotations

import math
import random
from datetime import timedelta

import psycopg

from sandbox.world import World

_HOURS = 23
_MOVES = (
    "UPDATE tokens_s0 SET mint_timestamp = mint_timestamp - %(by)s, "
    "status_changed_at = status_changed_at - %(by)s + %(longer)s, "
    "revealed_at = revealed_at - %(by)s + %(longer)s WHERE token_id = %(token)s",
    "UPDATE token_transitions SET created_at = created_at - %(by)s WHERE token_id = %(token)s",
    "UPDATE image_generation_jobs SET created_at = created_at - %(by)s, "
    "submitted_at = submitted_at - %(by)s, completed_at = completed_at - %(by)s "
    "WHERE token_id = %(token)s",
    "UPDATE ipfs_upload_records SET created_at = created_at - %(by)s WHERE token_id = %(token)s",
)


def spread_over_a_day(world: World, *, keep_newest: int, seed: int = 7) -> int:
    """Move all but the newest revealed tokens into the past; return how many."""
    stream = random.Random(seed)
    with psycopg.connect(world.database_url()) as connection:
        rows = connection.execute(
            "SELECT token_id FROM tokens_s0 WHERE status = 'revealed' ORDER BY token_id"
        ).fetchall()
        tokens = [row[0] for row in rows][: max(0, len(rows) - keep_newest)]
        for token, hour in zip(tokens, _hours(len(tokens), stream), strict=True):
            by = timedelta(hours=hour, seconds=stream.uniform(-1500, 1500))
            longer = timedelta(seconds=stream.lognormvariate(1.0, 0.7))
            given = {"by": by, "longer": longer, "token": token}
            for statement in _MOVES:
                connection.execute(statement, given)
    return len(tokens)


def _hours(number: int, stream: random.Random) -> list[int]:
    """Return hours ago: quiet at night, busy in two waves of the day."""
    hours = range(1, _HOURS + 1)
    weights = [1.2 + math.sin(hour / 3.4) + 0.5 * math.sin(hour / 1.3) for hour in hours]
    return stream.choices(hours, weights, k=number)
