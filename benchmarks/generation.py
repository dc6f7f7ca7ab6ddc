"""Many tokens that wait already: how soon does each have its image and both its pins?

The tokens are registered while no worker runs and released together; the reveal is switched off.
Time by this process's clock from the release until the database has all of them `ready`; the
generations that ran at once by the vendor's call log.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import EMULATORS, PROGRAM, Scene, scene
from benchmarks.statements import StatementCount
from sandbox.accounts import ACCOUNTS, AUTHORS, COLLECTORS
from sandbox.world import WorldOptions
from tokens.transitions import PIPELINE_CHANNEL

NAME = "generation"
MINTED_TOGETHER = 10
# Painting must not take the CPU that is measured; the bytes of every image still differ.
DISTINCT_IMAGES = 8
_GROUPS = (("web",), ("worker",), ("postgres",), EMULATORS)
_TIMEOUT_SECONDS = 300.0
_ALL = "SELECT count(*) = {tokens} FROM tokens_s0 WHERE status = '{status}'"
_DRAIN_RUNS = "SELECT count(*) > 0 FROM worker_heartbeats WHERE stage = 'pipeline'"


@dataclass(frozen=True)
class Measured:
    """One run; CPU in seconds by group of processes, calls by the vendors' logs."""

    seconds: float
    cpu: dict[str, float]
    statements: StatementCount
    image_bytes: float
    predictions: int
    pins: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=500, help="how many (default 500)")
    parser.add_argument(
        "--concurrency", type=int, default=20, help="WORKER_BATCH_SIZE, UPLOAD_CONCURRENCY (20)"
    )
    parser.add_argument("--generation-seconds", type=float, default=1.0, help="default 1.0")
    parser.add_argument("--pin-seconds", type=float, default=0.2, help="default 0.2")
    parser.add_argument("--image-size", type=int, default=256, help="side in pixels (default 256)")


def run(options: argparse.Namespace) -> Report:
    """Register the tokens, release them, and follow them until all are ready."""
    machine = machine_facts()
    settings = WorldOptions(
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        image_size=options.image_size,
        distinct_images=DISTINCT_IMAGES,
        workers=0,
        env={
            "WORKER_BATCH_SIZE": str(options.concurrency),
            "UPLOAD_CONCURRENCY": str(options.concurrency),
            "ENABLE_REVEAL_WORKER": "false",
        },
    )
    with scene(NAME, settings) as place:
        _register(place, options.tokens)
        _start_worker(place)
        measured = _measure(place, options.tokens)
    return _report(measured, options, machine)


def _register(place: Scene, tokens: int) -> None:
    """Mint all tokens, and have the web server register them."""
    chain = place.world.chain
    chain.set_block_time(0)
    sent = 0
    while sent < tokens:
        collector = COLLECTORS[sent // MINTED_TOGETHER % len(COLLECTORS)]
        quantity = min(MINTED_TOGETHER, tokens - sent)
        chain.mint(ACCOUNTS.index(collector), AUTHORS[0].address, quantity)
        sent += quantity
    chain.mine()
    place.statements.wait_for(_ALL.format(tokens=tokens, status="detected"), 60)


def _start_worker(place: Scene) -> None:
    """Start the worker while no token is due: its start is not measured."""
    place.statements.session.execute("UPDATE tokens_s0 SET next_attempt_at = 'infinity'")
    place.world.add_worker()
    place.statements.wait_for(_DRAIN_RUNS, 30)
    time.sleep(3)  # what a start does besides: schedules, the first look at the chain


def _measure(place: Scene, tokens: int) -> Measured:
    place.statements.mark()
    before = [place.usage(*group).cpu_seconds for group in _GROUPS]
    started = time.monotonic()
    with place.statements.session.transaction():
        place.statements.session.execute("UPDATE tokens_s0 SET next_attempt_at = NULL")
        place.statements.session.execute("SELECT pg_notify(%s, '')", [PIPELINE_CHANNEL])
    place.statements.wait_for(_ALL.format(tokens=tokens, status="ready"), _TIMEOUT_SECONDS)
    seconds = time.monotonic() - started
    after = [place.usage(*group).cpu_seconds for group in _GROUPS]
    sizes = place.statements.session.execute("SELECT avg(size_bytes) FROM token_images").fetchone()
    return Measured(
        seconds=seconds,
        cpu={
            group[0]: end - start for group, start, end in zip(_GROUPS, before, after, strict=True)
        },
        statements=place.statements.since_mark(),
        image_bytes=float(sizes[0]) if sizes else 0.0,
        predictions=int(place.world.control("replicate", "bill")["count"]),
        pins=_pins(place),
    )


def _pins(place: Scene) -> int:
    calls = place.world.control("pinata", "calls")["calls"]
    return sum(call["path"].startswith("/pinning/") for call in calls)


def floor_seconds(options: argparse.Namespace) -> float:
    """Return the vendors' own time for all tokens, at the given number of calls at once.

    A place is free again when its generation has ended: files are pinned meanwhile, so that only
    the last pin counts.
    """
    rounds = math.ceil(options.tokens / options.concurrency)
    generating = rounds * options.generation_seconds + options.pin_seconds
    pinning = options.generation_seconds + rounds * options.pin_seconds
    return float(max(generating, pinning))


def _report(measured: Measured, options: argparse.Namespace, machine: dict[str, Any]) -> Report:
    tokens, floor = options.tokens, floor_seconds(options)
    each = {name: 1000 * seconds / tokens for name, seconds in measured.cpu.items()}
    tags = ", ".join(
        f"{tag} {n / tokens:.1f}" for tag, n in measured.statements.by_tag.most_common(6)
    )
    return Report(
        name=NAME,
        figures=rounded(
            {
                "tokens_per_s": tokens / measured.seconds,
                "floor_ratio": measured.seconds / floor,
                "cpu_ms_per_token": sum(each[name] for name in PROGRAM),
                "ready_s": measured.seconds,
                "worker_cpu_ms_per_token": each["worker"],
                "web_cpu_ms_per_token": each["web"],
                "postgres_cpu_ms_per_token": each["postgres"],
                "emulators_cpu_ms_per_token": each[EMULATORS[0]],
                "statements_per_token": measured.statements.count / tokens,
                "predictions_per_token": measured.predictions / tokens,
                "pins_per_token": measured.pins / tokens,
            }
        ),
        floor=rounded(
            {
                "tokens_per_s": tokens / floor,
                "floor_ratio": 1.0,
                "ready_s": floor,
                "predictions_per_token": 1.0,
                "pins_per_token": 2.0,
            }
        ),
        machine=machine,
        notes=(
            f"{tokens} detected tokens, {options.concurrency} generations and "
            f"{options.concurrency} uploads at once, generation {options.generation_seconds} s, "
            f"pins {options.pin_seconds} s, images {options.image_size} px of "
            f"{measured.image_bytes / 1000:.0f} kB",
            "CPU of web and qcluster with all children from the release to the last token's "
            "ready; PostgreSQL and the emulators apart",
            f"statements per token by the server's log: {tags}",
        ),
    )
