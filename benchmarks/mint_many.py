"""Many mints at once, by several collectors, in one block: when is the last one revealed?

`--filled`: after so many others, which were revealed in the years before. Blocks by this process's
clock, CPU by the kernel's clocks (the program's processes only), statements by PostgreSQL's log.
"""

from __future__ import annotations

import argparse
import math

from benchmarks.big_database import fill_world
from benchmarks.report import Options, Result
from benchmarks.scene import Scene
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "tokens": (50, "how many"),
    "concurrency": (10, "places of the worker, for generations and for uploads"),
    "generation_seconds": (1.0, "the vendor's own time"),
    "pin_seconds": (0.2, "the vendor's own time"),
    "block_seconds": (2, "from block to block"),
    "filled": (0, "tokens in the database before"),
    "image_size": (256, "pixels; a larger one is painted by the same CPU that is measured"),
}
_NEXT_TOKEN_ID = 14  # the contract's slot of storage


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        block_time=float(options.block_seconds),
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        # Painting must not take the CPU that is measured; the bytes of every image still differ.
        image_size=options.image_size,
        distinct_images=4,
        workers=0 if options.filled else 1,
        env={
            "WORKER_BATCH_SIZE": str(options.concurrency),
            "UPLOAD_CONCURRENCY": str(options.concurrency),
        },
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Mint all tokens in one block and follow them to the last reveal."""
    tokens, block_seconds = options.tokens, options.block_seconds
    if options.filled:
        _fill(place, options.filled)
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
            "rows_read_per_token": cost.rows_read.total() / tokens,
            "wal_kb_per_token": int(cost.wal_bytes) / 1000 / tokens,
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
            "rows read per token: "
            + ", ".join(f"{t} {n / tokens:.1f}" for t, n in cost.rows_read.most_common(5)),
        ),
    )


def _fill(place: Scene, tokens: int) -> None:
    """Have so many tokens in the database, and as many ids given out; then start a worker."""
    world, session = place.world, place.statements.session
    fill_world(world, tokens, under_way=0)
    world.manage("migrate", "--verbosity", "0")  # the default author is there again
    contract, slot = world.chain.contract.address, f"0x{_NEXT_TOKEN_ID:064x}"
    world.chain.rpc("anvil_setStorageAt", contract, slot, f"0x{tokens + 1:064x}")
    session.execute(
        "UPDATE system_state SET state_value = jsonb_build_object('block', %s::int) "
        "WHERE state_key = 'last_processed_block'",
        [place.watch.newest],
    )
    world.add_worker()
    world.wait_for_workers()
