"""One mint at a time, while nothing else is on its way: how soon is it revealed?

Measured from outside: blocks and the reveal's first sight in the node's pool by this process's
clock (newHeads and newPendingTransactions). What each step adds is told by `steps`.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass
from statistics import median

from benchmarks.report import Options, Result
from benchmarks.scene import Scene
from sandbox.accounts import AUTHORS
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "mints": (20, "how many, one by one"),
    "seed": (1, "of the random moments of sending"),
}
GENERATION_SECONDS, PIN_SECONDS, BLOCK_SECONDS = 1.0, 0.2, 2.0
VENDOR_SECONDS = GENERATION_SECONDS + PIN_SECONDS


@dataclass(frozen=True)
class Lone:
    """One mint's times in seconds from the moment its own block appeared."""

    revealed: float
    broadcast: float
    blocks: int


def settings(_options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        block_time=BLOCK_SECONDS,
        generation_seconds=str(GENERATION_SECONDS),
        pin_seconds=str(PIN_SECONDS),
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Mint one token after the other, each at a random moment."""
    moments, found = random.Random(options.seed), []
    for _ in range(options.mints):
        time.sleep(moments.uniform(0, BLOCK_SECONDS))
        found.append(_follow_one(place))
    revealed = [lone.revealed for lone in found]
    broadcast = [lone.broadcast for lone in found]
    floor = BLOCK_SECONDS * -(-VENDOR_SECONDS // BLOCK_SECONDS)
    return Result(
        {
            "mint_to_revealed_s": (median(revealed), floor),
            "overhead_s": (median(broadcast) - VENDOR_SECONDS, 0.0),
            "worst_s": (max(revealed), floor),
            "worst_overhead_s": (max(broadcast) - VENDOR_SECONDS, 0.0),
            "broadcast_s": (median(broadcast), VENDOR_SECONDS),
            "next_block_share": (sum(lone.blocks == 1 for lone in found) / len(found), 1.0),
        },
        (
            f"{len(found)} mints, generation {GENERATION_SECONDS} s, pins {PIN_SECONDS} s, "
            f"blocks {BLOCK_SECONDS} s; overhead is the time from the mint's block to the "
            f"reveal's broadcast, less the vendors' {VENDOR_SECONDS} s",
        ),
    )


def _follow_one(place: Scene) -> Lone:
    chain, watch = place.world.chain, place.watch
    token_id = chain.next_token_id()
    mint_block = int(chain.wait(chain.mint(1, AUTHORS[0].address))["blockNumber"])
    (reveal,) = place.wait_for_reveals({token_id}, after=mint_block)
    minted_at = watch.blocks[mint_block]
    return Lone(
        revealed=watch.blocks[reveal.block_number] - minted_at,
        broadcast=watch.pending[reveal.tx_hash] - minted_at,
        blocks=reveal.block_number - mint_block,
    )
