"""One mint at a time, while nothing else is on its way: how soon is it revealed?

Measured from outside: blocks and the reveal's first sight in the node's pool by this process's
clock (newHeads and newPendingTransactions), the stages in between by the vendors' call logs.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.report import Report, machine_facts, median_of, rounded
from benchmarks.scene import Scene, scene
from sandbox.accounts import AUTHORS
from sandbox.chain import Reveal
from sandbox.world import WorldOptions

NAME = "lone_mint"
GENERATION_SECONDS = 1.0
PIN_SECONDS = 0.2
BLOCK_SECONDS = 2.0
VENDOR_SECONDS = GENERATION_SECONDS + PIN_SECONDS
_TIMEOUT_SECONDS = 60.0
# The calls by which a token's way shows at the vendors: name, emulator, method, part of path.
_MARKS = (
    ("generation_asked", "replicate", "POST", "/predictions", "received_at"),
    ("image_fetched", "replicate", "GET", "/delivery", "answered_at"),
    ("pins_asked", "pinata", "POST", "/pinning/", "received_at"),
    ("pinned", "pinata", "POST", "/pinning/", "answered_at"),
    ("verified", "gateway", "GET", "/ipfs/", "answered_at"),
)


@dataclass(frozen=True)
class Lone:
    """One mint's times in seconds from the moment its own block appeared."""

    revealed: float
    broadcast: float
    blocks: int
    marks: dict[str, float]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mints", type=int, default=20, help="how many, one by one (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments of sending")


def run(options: argparse.Namespace) -> Report:
    """Mint one token after the other, each at a random moment."""
    machine = machine_facts()
    moments = random.Random(options.seed)
    settings = WorldOptions(
        block_time=BLOCK_SECONDS,
        generation_seconds=str(GENERATION_SECONDS),
        pin_seconds=str(PIN_SECONDS),
    )
    with scene(NAME, settings) as place:
        found = []
        for _ in range(options.mints):
            time.sleep(moments.uniform(0, BLOCK_SECONDS))
            found.append(_measure(place))
    return _report(found, machine)


def _measure(place: Scene) -> Lone:
    """Mint one token and follow it to its reveal."""
    chain, watch = place.world.chain, place.watch
    calls_before = {name: _call_count(place, name) for name in ("replicate", "pinata", "gateway")}
    token_id = chain.next_token_id()
    receipt = chain.wait(chain.mint(1, AUTHORS[0].address))
    mint_block = int(receipt["blockNumber"])
    reveal = _wait_for_reveal(place, token_id, mint_block)
    minted_at = watch.blocks[mint_block]
    return Lone(
        revealed=watch.blocks[reveal.block_number] - minted_at,
        broadcast=watch.pending[reveal.tx_hash] - minted_at,
        blocks=reveal.block_number - mint_block,
        marks=_marks(place, calls_before, minted_at),
    )


def _wait_for_reveal(place: Scene, token_id: int, mint_block: int) -> Reveal:
    """Look at each new block once. Raises `TimeoutError`."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    block = mint_block
    while time.monotonic() < deadline:
        block = place.watch.wait_for_block(after=block)
        for reveal in place.world.chain.reveal_transactions(from_block=mint_block):
            if token_id in reveal.token_ids and reveal.block_number in place.watch.blocks:
                return reveal
    raise TimeoutError(f"token {token_id} was not revealed within {_TIMEOUT_SECONDS:g} s")


def _call_count(place: Scene, emulator: str) -> int:
    calls: list[dict[str, Any]] = place.world.control(emulator, "calls")["calls"]
    return max((call["number"] for call in calls), default=0)


def _marks(place: Scene, before: dict[str, int], minted_at: float) -> dict[str, float]:
    """Return the last call of each kind that the vendors saw for this token, in seconds."""
    calls = {
        name: place.world.control(name, f"calls?since={number}")["calls"]
        for name, number in before.items()
    }
    found = {}
    for mark, emulator, method, path, moment in _MARKS:
        times = [
            call[moment]
            for call in calls[emulator]
            if call["method"] == method and path in call["path"]
        ]
        if times:
            found[mark] = max(times) - minted_at
    return found


def _report(found: list[Lone], machine: dict[str, Any]) -> Report:
    times = [lone.revealed for lone in found]
    overheads = [lone.broadcast - VENDOR_SECONDS for lone in found]
    floor = BLOCK_SECONDS * -(-VENDOR_SECONDS // BLOCK_SECONDS)
    stages = {
        mark: [lone.marks[mark] for lone in found if mark in lone.marks] for mark, *_ in _MARKS
    }
    way = ", ".join(f"{mark} {1000 * median_of(stages[mark]):.0f}" for mark, *_ in _MARKS)
    return Report(
        name=NAME,
        figures=rounded(
            {
                "mint_to_revealed_s": median_of(times),
                "worst_s": max(times),
                "overhead_s": median_of(overheads),
                "worst_overhead_s": max(overheads),
                "broadcast_s": median_of([lone.broadcast for lone in found]),
                "next_block_share": sum(lone.blocks == 1 for lone in found) / len(found),
            }
        ),
        floor={
            "mint_to_revealed_s": floor,
            "worst_s": floor,
            "overhead_s": 0.0,
            "worst_overhead_s": 0.0,
            "broadcast_s": VENDOR_SECONDS,
            "next_block_share": 1.0,
        },
        machine=machine,
        notes=(
            f"{len(found)} mints, generation {GENERATION_SECONDS} s, pins {PIN_SECONDS} s, "
            f"blocks {BLOCK_SECONDS} s; overhead is the time from the mint's block to the "
            f"reveal's broadcast, less the vendors' {VENDOR_SECONDS} s",
            f"medians in ms after the block: {way}, "
            f"broadcast {1000 * median_of([lone.broadcast for lone in found]):.0f}",
        ),
    )
