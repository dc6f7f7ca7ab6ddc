"""What pictures of the admin need beside a demo that went well: a day, failures, a revoked key.

Of the day only times are moved: what happened, happened. The newest tokens stay where they are, and
their pages tell the truth to the millisecond.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg

from sandbox.demo.cast import CAST, COLLECTOR_INDICES
from sandbox.world import World

_HOURS = 23
_PATIENCE_SECONDS = 60.0
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


def token_ids(world: World, status: str) -> list[int]:
    """Return the tokens in a state, oldest first."""
    with psycopg.connect(world.database_url()) as connection:
        rows = connection.execute(
            "SELECT token_id FROM tokens_s0 WHERE status = %s ORDER BY token_id", [status]
        )
        return [row[0] for row in rows.fetchall()]


def fail_tokens(world: World, *, number: int) -> list[int]:
    """Have a vendor refuse the prompts of some mints; return the tokens that failed."""
    world.control("replicate", "faults", {"flagged_rate": 1.0})
    try:
        _mint(world, number)
        _wait(lambda: len(token_ids(world, "failed")) >= number, "no token failed")
    finally:
        world.control("replicate", "faults", {"flagged_rate": 0.0})
    return token_ids(world, "failed")


@contextmanager
def revoked_key(world: World, *, number: int) -> Iterator[list[int]]:
    """Let Pinata refuse the key while some tokens are on their way; yield those that wait."""
    world.control("pinata", "faults", {"key_revoked": True})
    try:
        _mint(world, number)
        _wait(lambda: len(token_ids(world, "uploading")) >= number, "no token waits for Pinata")
        _wait(lambda: _is_open(world, "pinata"), "Pinata is called in spite of its answer")
        yield token_ids(world, "uploading")
    finally:
        world.control("pinata", "faults", {"key_revoked": False})


def _mint(world: World, number: int) -> None:
    author = CAST[0].wallet
    world.chain.wait(world.chain.mint(COLLECTOR_INDICES[0], author, number))


def _is_open(world: World, breaker: str) -> bool:
    with psycopg.connect(world.database_url()) as connection:
        row = connection.execute(
            "SELECT state_value ->> 'state' FROM system_state WHERE state_key = %s",
            [f"breaker:{breaker}"],
        ).fetchone()
    return row is not None and row[0] == "open"


def _wait(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{problem} in {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.2)
