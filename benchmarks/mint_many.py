"""Many mints at once, by several collectors, in one block: when is the last one revealed?

Blocks by this process's clock, CPU by the kernel's clocks (the program's processes only),
statements by PostgreSQL's own log.
"""

from __future__ import annotations

import argparse
import math

from benchmarks.report import Options, Result
from benchmarks.scene import Scene
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "tokens": (50, "how many"),
    "concurrency": (10, "places of the worker, for generations and for uploads"),
    "generation_seconds": (1.0, "the vendor's own time"),
    "pin_seconds": (0.2, "the vendor's own time"),
    "block_seconds": (2, "from block to block"),
}


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        block_time=float(options.block_seconds),
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        # Painting must not take the CPU that is measured; the bytes of every image still differ.
        image_size=256,
        distinct_images=4,
        env={
            "WORKER_BATCH_SIZE": str(options.concurrency),
            "UPLOAD_CONCURRENCY": str(options.concurrency),
        },
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Mint all tokens in one block and follow them to the last reveal."""
    tokens, block_seconds = options.tokens, options.block_seconds
    ids = place.send_mints(tokens)
    # What follows the last reveal's block (its receipt, the tokens' last move) counts as well.
    with place.cost() as cost:
        mint_block = place.mine(block_seconds=block_seconds)
        reveals = place.wait_for_reveals(ids, after=mint_block)
        place.wait_for_state("revealed", ids)
    minted_at = place.watch.blocks[mint_block]
    revealed = [place.watch.blocks[reveal.block_number] - minted_at for reveal in reveals]
    broadcast = max(place.watch.pending[reveal.tx_hash] for reveal in reveals) - minted_at
    rounds = math.ceil(tokens / options.concurrency)
    vendors = rounds * options.generation_seconds + options.pin_seconds
    floor = block_seconds * math.ceil(vendors / block_seconds)  # the first block that can take all
    return Result(
        {
            "last_revealed_s": (max(revealed), floor),
            "tokens_per_s": (tokens / max(revealed), tokens / floor),
            "cpu_ms_per_token": cost.cpu_ms("web", "worker", per=tokens),
            "statements_per_token": cost.statements.count / tokens,
            "last_broadcast_s": (broadcast, vendors),
            "first_revealed_s": min(revealed),
            "reveal_transactions": len(reveals),
            "postgres_cpu_ms_per_token": cost.cpu_ms("postgres", per=tokens),
            "emulators_cpu_ms_per_token": cost.cpu_ms("emulators", per=tokens),
        },
        (
            f"{tokens} tokens minted in one block, {options.concurrency} generations at once of "
            f"{options.generation_seconds} s, pins {options.pin_seconds} s, "
            f"blocks {block_seconds} s",
            "CPU of web and qcluster with all children, from the mint's block to the last "
            "token's last move; PostgreSQL and the emulators apart",
            f"statements per token by the server's log: {cost.statements.tags(per=tokens)}; "
            f"server time {cost.statements.server_ms / tokens:.1f} ms per token",
        ),
    )
