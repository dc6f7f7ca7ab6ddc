"""How soon a rate limit is found that nobody told us of, and whether one is missed where none is.

Two worlds at default settings: in one nobody limits, in the other Pinata takes so many requests a
minute and no more. Times by blocks, calls by Pinata's own log.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import mint_many
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import Scene, scene
from sandbox.world import WorldOptions

NAME = "limits"
CALLS_PER_TOKEN = 2
MINUTE = 60.0


@dataclass(frozen=True)
class Call:
    """One request to pin; `at` in seconds from the first of them."""

    at: float
    refused: bool


@dataclass(frozen=True)
class Limited:
    last_revealed: float
    calls: list[Call]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=50, help="without limits (default 50)")
    parser.add_argument("--limited-tokens", type=int, default=200, help="with one (default 200)")
    parser.add_argument("--per-minute", type=int, default=250, help="the limit (default 250)")
    parser.add_argument(
        "--burst", type=int, default=0, help="a bucket of so many calls; 0: windows of a minute"
    )


def run(options: argparse.Namespace) -> Report:
    """Mint all tokens in one block, in a world without limits and in one with."""
    machine = machine_facts()
    with scene(NAME, _options()) as place:
        free = _last_revealed(place, options.tokens)
    with scene(NAME, _options()) as place:
        place.world.control(
            "pinata",
            "faults",
            {"requests_per_minute": options.per_minute, "requests_burst": options.burst},
        )
        last = _last_revealed(place, options.limited_tokens)
        limited = Limited(last, _pins(place))
    return _report(free, limited, options, machine)


def _options() -> WorldOptions:
    return WorldOptions(
        block_time=2.0,
        generation_seconds="1.0",
        pin_seconds="0.2",
        image_size=mint_many.IMAGE_SIZE,
        distinct_images=mint_many.DISTINCT_IMAGES,
    )


def _last_revealed(place: Scene, tokens: int) -> float:
    return mint_many.measure(place, tokens, block_seconds=2).last_revealed


def _pins(place: Scene) -> list[Call]:
    found: list[dict[str, Any]] = [
        call for call in place.world.control("pinata", "calls")["calls"] if call["method"] == "POST"
    ]
    first = min(call["received_at"] for call in found)
    return [Call(call["received_at"] - first, call["status"] == 429) for call in found]


def share_refused(calls: Sequence[Call]) -> float:
    """Return the share of the calls that was refused for the rate."""
    return sum(call.refused for call in calls) / len(calls)


def share_used(calls: Sequence[Call], *, per_minute: int) -> float:
    """Return how much of the limit was used until the last call, a window's burst included.

    A window's whole minute is allowed at once, so the second one counts only as far as it went.
    """
    accepted = [call.at for call in calls if not call.refused]
    lasted = max(accepted)
    return len(accepted) / (per_minute * max(lasted / MINUTE, 1.0))


def _report(
    free: float, limited: Limited, options: argparse.Namespace, machine: dict[str, Any]
) -> Report:
    pins = CALLS_PER_TOKEN * options.limited_tokens
    floor = max(0.0, pins - options.per_minute) / options.per_minute * MINUTE
    return Report(
        name=NAME,
        figures=rounded(
            {
                "unlimited_last_revealed_s": free,
                "limited_last_revealed_s": limited.last_revealed,
                "limit_used_share": share_used(limited.calls, per_minute=options.per_minute),
                "refused_share": share_refused(limited.calls),
            }
        ),
        floor={
            "unlimited_last_revealed_s": 2.0
            * math.ceil((math.ceil(options.tokens / mint_many.CONCURRENCY) + 0.2) / 2),
            "limited_last_revealed_s": round(floor, 2),
            "refused_share": 0.0,
        },
        machine=machine,
        notes=(
            f"{options.tokens} tokens without limits, {options.limited_tokens} at "
            f"{options.per_minute} requests a minute to Pinata of which no setting knows; "
            "generation 1.0 s, pins 0.2 s, blocks 2 s",
            "the limit's floor: a minute's calls at once, the others at its pace",
        ),
    )
