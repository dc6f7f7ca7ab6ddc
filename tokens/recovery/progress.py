"""How far the chain has been read, and what the looks at it remember from one to the next."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from django.db import connection

from glisk.models import SystemState
from glisk.timing import timing

PROGRESS_KEY = "last_processed_block"
MEMORY_KEY = "recovery"


class _Stored:
    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read what was stored; what is not understood counts as absent."""
        known = value if isinstance(value, dict) else {}
        return cls(**{name: known[name] for name in vars(cls()) if name in known})


@dataclass(frozen=True)
class Progress(_Stored):
    """`block`: up to there no mint is missing. `range_blocks`: what the provider gave at once."""

    block: int | None = None
    head: int | None = None  # the newest block ever seen
    range_blocks: int | None = None


@dataclass
class Memory(_Stored):
    """What makes the next look cheap; losing it costs a thorough look, nothing else.

    Every id below `known_below` has a row, and the mint events tile everything below
    `tiled_below`. `suspects` are mints that seem gone: event id → head and time (unix seconds)
    when that was first seen; `unknown` are tokens without a mint that the contract seems to have
    forgotten: id → head. `gap` is one that could not be filled: how many ids, how often it was
    tried, and when it is worth trying again; `hole` the same for ids without a mint event.
    `proved_at` is when the last proof was made, `window` the last id that its drift check has come
    to.
    """

    known_below: int = 1
    tiled_below: int = 1
    proved_at: str | None = None
    window: int = 0
    suspects: dict[str, Sequence[float]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    gap: dict[str, float] = field(default_factory=dict)
    hole: dict[str, float] = field(default_factory=dict)


def load() -> tuple[Progress, Memory]:
    """Return progress and memory by one query."""
    rows = dict(
        SystemState.objects.filter(state_key__in=[PROGRESS_KEY, MEMORY_KEY]).values_list(
            "state_key", "state_value"
        )
    )
    return Progress.parse(rows.get(PROGRESS_KEY)), Memory.parse(rows.get(MEMORY_KEY))


def load_progress() -> Progress:
    return load()[0]


def save_progress(progress: Progress) -> None:
    """Store what is not None; of two readers at the same time the one further on wins."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO system_state (state_key, state_value, updated_at)
            VALUES (%s, jsonb_strip_nulls(%s::jsonb), clock_timestamp())
            ON CONFLICT (state_key) DO UPDATE
            SET state_value = system_state.state_value || EXCLUDED.state_value,
                updated_at = EXCLUDED.updated_at
            WHERE COALESCE((system_state.state_value->>'block')::bigint, -1) <= %s
            """,
            [
                PROGRESS_KEY,
                json.dumps(asdict(progress)),
                -1 if progress.block is None else progress.block,
            ],
        )


def rewind_progress(block: int) -> None:
    """Have everything after `block` read again: something there is missing after all."""
    progress = load_progress()
    if progress.block is not None and progress.block > block:
        SystemState.put(PROGRESS_KEY, asdict(progress) | {"block": max(0, block)})


def save_memory(memory: Memory) -> None:
    SystemState.put(MEMORY_KEY, asdict(memory))


def forget_from(token_id: int) -> None:
    """Let the next look count and prove anew from this id on: a row or a mint is taken away."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE system_state SET state_value = state_value || jsonb_build_object(
                'known_below', LEAST((state_value->>'known_below')::bigint, %s),
                'tiled_below', LEAST((state_value->>'tiled_below')::bigint, %s))
            WHERE state_key = %s
            """,
            [token_id, token_id, MEMORY_KEY],
        )


def wait_before_trying(stuck: dict[str, float], *, longest_seconds: float, **what: float) -> float:
    """Note a vain try; return after how many seconds to try again: twice as many each time."""
    tries = stuck.get("tries", 0.0) + 1 if _is_same(stuck, what) else 1.0
    wait = min(longest_seconds, timing.first_retry * 2 ** min(tries - 1, 20))
    stuck.clear()
    stuck.update(what, tries=tries, retry_at=time.time() + wait)
    return wait


def is_worth_trying(stuck: dict[str, float], **what: float) -> bool:
    """Tell whether this is new, or has been left alone for long enough."""
    return not _is_same(stuck, what) or time.time() >= stuck["retry_at"]


def _is_same(stuck: dict[str, float], what: dict[str, float]) -> bool:
    return what.items() <= stuck.items()
