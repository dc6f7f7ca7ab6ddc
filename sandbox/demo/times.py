"""How long each token took, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles
from typing import Any

import psycopg

from sandbox.chain import DemoChain
from sandbox.world import World

STAGES = ("detected", "generated", "pinned", "revealed")

# When the token entered the state for the first time; an entry into a state ends the stage before.
_ENTERED = """
    SELECT token_id, to_status, min(extract(epoch FROM created_at))::float8
    FROM token_transitions WHERE token_id > %s AND to_status IN ('detected', 'uploading', 'ready')
    GROUP BY token_id, to_status
"""


@dataclass(frozen=True)
class TokenTimes:
    """Seconds that each stage took, and all of them together; from block to block."""

    token_id: int
    author: str
    minted_block: int
    revealed_block: int
    stages: tuple[float, float, float, float]

    @property
    def total(self) -> float:
        return sum(self.stages)


def read_times(
    world: World, *, arrivals: Mapping[int, float], first_block: int, last_token_before: int
) -> list[TokenTimes]:
    """Return the times of the tokens that were minted since `first_block` and are revealed.

    Minted and revealed count from the moment at which we heard of the block; what lies between
    is the token's timeline in the database.
    """
    entered = _entered(world, last_token_before)
    minted = _minted(world.chain, first_block)
    revealed = {
        token_id: reveal.block_number
        for reveal in world.chain.reveal_transactions(first_block)
        for token_id in reveal.token_ids
    }
    found = []
    for token_id, (block, author) in sorted(minted.items()):
        moments = entered.get(token_id, {})
        if token_id not in revealed or len(moments) != 3:
            continue
        marks = [
            _moment(world.chain, arrivals, block),
            *(moments[state] for state in ("detected", "uploading", "ready")),
            _moment(world.chain, arrivals, revealed[token_id]),
        ]
        first, second, third, fourth = (
            max(0.0, later - earlier) for earlier, later in pairwise(marks)
        )
        found.append(
            TokenTimes(token_id, author, block, revealed[token_id], (first, second, third, fourth))
        )
    return found


def percentile(values: list[float], percent: int) -> float:
    """Return the value below which so many percent lie."""
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _entered(world: World, last_token_before: int) -> dict[int, dict[str, float]]:
    moments: dict[int, dict[str, float]] = {}
    with psycopg.connect(world.database_url(), autocommit=True) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(_ENTERED, [last_token_before]).fetchall()
    for token_id, state, moment in rows:
        moments.setdefault(token_id, {})[state] = moment
    return moments


def _minted(chain: DemoChain, first_block: int) -> dict[int, tuple[int, str]]:
    return {
        token_id: (mint.block_number, mint.prompt_author)
        for mint in chain.mints(first_block)
        for token_id in range(mint.start_token_id, mint.start_token_id + mint.quantity)
    }


def _moment(chain: DemoChain, arrivals: Mapping[int, float], block: int) -> float:
    """Return when the block came; its own timestamp if we did not hear of it."""
    return arrivals.get(block) or float(chain.block_timestamp(block))
