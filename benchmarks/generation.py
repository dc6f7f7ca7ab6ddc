"""Many tokens that wait already: how soon does each have its image and both its pins?

The tokens are registered while no worker runs and released together; the reveal is switched off.
Time by this process's clock from the release until the database has all of them `ready`; the
generations that ran at once by the vendor's call log.
"""

from __future__ import annotations

import argparse
import math
import time

from benchmarks.report import Options, Result
from benchmarks.scene import Scene
from sandbox.world import WorldOptions
from tokens.transitions import PIPELINE_CHANNEL

OPTIONS: Options = {
    "tokens": (500, "how many"),
    "concurrency": (20, "places of the worker, for generations and for uploads"),
    "generation_seconds": (1.0, "the vendor's own time"),
    "pin_seconds": (0.2, "the vendor's own time"),
    "image_size": (256, "side in pixels"),
}
_START_SECONDS = 3.0  # what a start does besides: schedules, the first look at the chain


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        # Painting must not take the CPU that is measured; the bytes of every image still differ.
        image_size=options.image_size,
        distinct_images=8,
        workers=0,
        env={
            "WORKER_BATCH_SIZE": str(options.concurrency),
            "UPLOAD_CONCURRENCY": str(options.concurrency),
            "ENABLE_REVEAL_WORKER": "false",
        },
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Register the tokens, release them, and follow them until all are ready."""
    tokens = options.tokens
    session = place.statements.session
    ids = place.send_mints(tokens)
    place.world.chain.mine()
    place.wait_for_state("detected", ids)
    session.execute("UPDATE tokens_s0 SET next_attempt_at = 'infinity'")
    place.world.add_worker()
    place.wait_for_drain()
    time.sleep(_START_SECONDS)
    with place.cost() as cost:
        with session.transaction():
            session.execute("UPDATE tokens_s0 SET next_attempt_at = NULL")
            session.execute("SELECT pg_notify(%s, '')", [PIPELINE_CHANNEL])
        place.wait_for_state("ready", ids)
    image_bytes = place.statements.value("SELECT avg(size_bytes) FROM token_images")
    predictions = place.world.control("replicate", "bill")["count"]
    pins = len(place.calls("pinata", "POST", "/pinning/"))
    floor = floor_seconds(options)
    return Result(
        {
            "tokens_per_s": (tokens / cost.seconds, tokens / floor),
            "floor_ratio": (cost.seconds / floor, 1.0),
            "cpu_ms_per_token": cost.cpu_ms("web", "worker", per=tokens),
            "ready_s": (cost.seconds, floor),
            "postgres_cpu_ms_per_token": cost.cpu_ms("postgres", per=tokens),
            "emulators_cpu_ms_per_token": cost.cpu_ms("emulators", per=tokens),
            "statements_per_token": cost.statements.count / tokens,
            "predictions_per_token": (predictions / tokens, 1.0),
            "pins_per_token": (pins / tokens, 2.0),
        },
        (
            f"{tokens} detected tokens, {options.concurrency} generations and as many uploads at "
            f"once, generation {options.generation_seconds} s, pins {options.pin_seconds} s, "
            f"images {options.image_size} px of {image_bytes / 1000:.0f} kB",
            "CPU of web and qcluster with all children from the release to the last token's "
            "ready; PostgreSQL and the emulators apart",
            f"statements per token by the server's log: {cost.statements.tags(per=tokens)}",
        ),
    )


def floor_seconds(options: argparse.Namespace) -> float:
    """Return the vendors' own time for all tokens, at the given number of calls at once.

    A place is free again when its generation has ended: files are pinned meanwhile, so that only
    the last pin counts.
    """
    rounds = math.ceil(options.tokens / options.concurrency)
    generating = rounds * options.generation_seconds + options.pin_seconds
    pinning = options.generation_seconds + rounds * options.pin_seconds
    return float(max(generating, pinning))
