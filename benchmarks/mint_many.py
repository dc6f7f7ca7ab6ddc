"""Many mints at once, by several collectors, in one block: when is the last one revealed?

Blocks by this process's clock, CPU by the kernel's clocks (the program's processes only),
statements by PostgreSQL's own log.
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
from sandbox.chain import Reveal
from sandbox.world import WorldOptions

NAME = "mint_many"
CONCURRENCY = 10  # WORKER_BATCH_SIZE's default
MINTED_TOGETHER = 10
# Painting must not take the CPU that is measured; the bytes of every image still differ.
IMAGE_SIZE, DISTINCT_IMAGES = 256, 4
_GROUPS = (PROGRAM, ("postgres",), EMULATORS)
_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Measured:
    """One run; times in seconds from the mint's block, CPU in seconds by group of processes."""

    first_revealed: float
    last_revealed: float
    last_broadcast: float
    reveals: int
    cpu: list[float]
    statements: StatementCount


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--generation-seconds", type=float, default=1.0, help="default 1.0")
    parser.add_argument("--pin-seconds", type=float, default=0.2, help="default 0.2")
    parser.add_argument("--block-seconds", type=int, default=2, help="default 2")


def run(options: argparse.Namespace) -> Report:
    """Mint all tokens in one block and follow them to the last reveal."""
    machine = machine_facts()
    settings = WorldOptions(
        block_time=float(options.block_seconds),
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        image_size=IMAGE_SIZE,
        distinct_images=DISTINCT_IMAGES,
    )
    with scene(NAME, settings) as place:
        measured = measure(place, options.tokens, options.block_seconds)
    return _report(measured, options, machine)


def measure(place: Scene, tokens: int, block_seconds: int) -> Measured:
    first = place.world.chain.next_token_id()
    _send_mints(place, tokens)
    place.statements.mark()
    before = [place.usage(*group).cpu_seconds for group in _GROUPS]
    mint_block = _mine(place, block_seconds)
    reveals = _wait_for_reveals(place, set(range(first, first + tokens)), mint_block)
    # What follows the last reveal's block (its receipt, the tokens' last move) counts as well.
    place.statements.wait_for(
        f"SELECT count(*) = {tokens} FROM tokens_s0 WHERE status = 'revealed'", 30
    )
    after = [place.usage(*group).cpu_seconds for group in _GROUPS]
    minted_at = place.watch.blocks[mint_block]
    times = [place.watch.blocks[reveal.block_number] - minted_at for reveal in reveals]
    return Measured(
        first_revealed=min(times),
        last_revealed=max(times),
        last_broadcast=max(place.watch.pending[reveal.tx_hash] for reveal in reveals) - minted_at,
        reveals=len(reveals),
        cpu=[end - start for start, end in zip(before, after, strict=True)],
        statements=place.statements.since_mark(),
    )


def _send_mints(place: Scene, tokens: int) -> None:
    """Fill the pool while no block is mined, the collectors taking turns."""
    place.world.chain.set_block_time(0)
    sent = 0
    while sent < tokens:
        collector = COLLECTORS[sent // MINTED_TOGETHER % len(COLLECTORS)]
        quantity = min(MINTED_TOGETHER, tokens - sent)
        place.world.chain.mint(ACCOUNTS.index(collector), AUTHORS[0].address, quantity)
        sent += quantity


def _mine(place: Scene, block_seconds: int) -> int:
    """Mine the one block of all mints, and let the chain go on; return its number."""
    chain, newest = place.world.chain, place.watch.newest
    chain.mine()
    chain.set_block_time(block_seconds)
    return place.watch.wait_for_block(after=newest)


def _wait_for_reveals(place: Scene, wanted: set[int], mint_block: int) -> list[Reveal]:
    """Look at each new block once. Raises `TimeoutError`."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    block = mint_block
    while time.monotonic() < deadline:
        block = place.watch.wait_for_block(after=block)
        reveals = place.world.chain.reveal_transactions(from_block=mint_block)
        found = {token_id for reveal in reveals for token_id in reveal.token_ids}
        seen = all(reveal.block_number in place.watch.blocks for reveal in reveals)
        if seen and found >= wanted:
            return reveals
    raise TimeoutError(f"not all tokens were revealed within {_TIMEOUT_SECONDS:g} s")


def vendor_seconds(options: argparse.Namespace) -> float:
    """Return the vendors' own time for all tokens, at the given number of calls at once."""
    rounds = math.ceil(options.tokens / CONCURRENCY)
    return float(rounds * options.generation_seconds + options.pin_seconds)


def floor_seconds(options: argparse.Namespace) -> float:
    """Return the time of the first block that can take the last token."""
    blocks = math.ceil(vendor_seconds(options) / options.block_seconds)
    return float(options.block_seconds * blocks)


def _report(measured: Measured, options: argparse.Namespace, machine: dict[str, Any]) -> Report:
    tokens, floor = options.tokens, floor_seconds(options)
    program, postgres, emulators = (1000 * seconds / tokens for seconds in measured.cpu)
    statements = measured.statements
    tags = ", ".join(f"{tag} {n / tokens:.1f}" for tag, n in statements.by_tag.most_common(6))
    return Report(
        name=NAME,
        figures=rounded(
            {
                "last_revealed_s": measured.last_revealed,
                "tokens_per_s": tokens / measured.last_revealed,
                "cpu_ms_per_token": program,
                "statements_per_token": statements.count / tokens,
                "last_broadcast_s": measured.last_broadcast,
                "first_revealed_s": measured.first_revealed,
                "reveal_transactions": float(measured.reveals),
                "postgres_cpu_ms_per_token": postgres,
                "emulators_cpu_ms_per_token": emulators,
            }
        ),
        floor=rounded(
            {
                "last_revealed_s": floor,
                "tokens_per_s": tokens / floor,
                "last_broadcast_s": vendor_seconds(options),
            }
        ),
        machine=machine,
        notes=(
            f"{tokens} tokens minted in one block, {CONCURRENCY} generations at once of "
            f"{options.generation_seconds} s, pins {options.pin_seconds} s, "
            f"blocks {options.block_seconds} s",
            "CPU of web and qcluster with all children, from the mint's block to the last "
            "token's last move; PostgreSQL and the emulators apart",
            f"statements per token by the server's log: {tags}; "
            f"server time {statements.server_ms / tokens:.1f} ms per token",
        ),
    )
