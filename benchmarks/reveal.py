"""Tokens become ready, alone or a thousand at once: how soon are they broadcast and revealed?

The tokens are minted on the node and registered by `recover_events`; images and metadata lie in
the gateway's store (see reveal_seed). The clock starts at the commit that makes them ready, as
the upload's commit would; broadcasts and blocks are timed by what the node announces.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from benchmarks.intake_client import Result
from benchmarks.report import Report, machine_facts, median_of, rounded
from benchmarks.scene import EMULATORS, PROGRAM, Scene, scene
from benchmarks.webhook_intake import Postman, percentile
from sandbox.accounts import ACCOUNTS, AUTHORS, COLLECTORS
from sandbox.chain import Reveal
from sandbox.world import BASE_DIR, WorldOptions

NAME = "reveal"
BATCH = 50  # BATCH_REVEAL_MAX_TOKENS' default, and the contract's limit of one mint
BLOCK_GAS = 400_000_000
_TIMEOUT_SECONDS = 120.0
_HEALTH_PAUSE_SECONDS = 0.05


@dataclass
class Measured:
    """Times in seconds from the commit that made the tokens ready; latencies in ms."""

    lone: list[float] = field(default_factory=list)
    last_revealed: float = 0.0
    last_broadcast: float = 0.0
    reveals: list[Reveal] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    gateway_calls: int = 0
    quiet: Result = field(default_factory=Result)
    busy: Result = field(default_factory=Result)
    quiet_health: list[float] = field(default_factory=list)
    busy_health: list[float] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=1000, help="ready at once (default 1000)")
    parser.add_argument("--lone", type=int, default=10, help="ready one by one (default 10)")
    parser.add_argument("--block-seconds", type=int, default=2, help="default 2")
    parser.add_argument("--events", type=int, default=200, help="webhooks meanwhile (default 200)")
    parser.add_argument("--rate", type=float, default=20.0, help="webhooks a second (default 20)")


def run(options: argparse.Namespace) -> Report:
    """Reveal tokens one by one, then all others at once while webhooks come in."""
    machine = machine_facts()
    # Generation and upload are not measured here: their stages take nothing.
    env = {"ENABLE_IMAGE_WORKER": "false", "ENABLE_IPFS_WORKER": "false"}
    measured = Measured()
    with scene(NAME, WorldOptions(block_time=float(options.block_seconds), env=env)) as place:
        tokens = _prepare(place, options.lone + options.tokens, options.block_seconds)
        for token_id in tokens[: options.lone]:
            measured.lone.append(_reveal_lone(place, token_id))
        measured.quiet, measured.quiet_health = _answers(place, options)
        _reveal_many(place, tokens[options.lone :], options, measured)
    return _report(measured, options, machine)


# -- the tokens -----------------------------------------------------------------------------


def _prepare(place: Scene, tokens: int, block_seconds: int) -> list[int]:
    """Mint and register tokens and put their files to the gateway; return their ids."""
    place.world.services["alchemy"].stop()
    _mint(place, tokens, block_seconds)
    place.world.manage("recover_events")
    store = str(place.world.directory / "ipfs")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reveal_seed", store],
        cwd=BASE_DIR, env=place.world.env, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    if done.returncode != 0 or int(done.stdout) != tokens:
        raise RuntimeError(f"{done.stdout} of {tokens} tokens wait:\n{done.stderr[-2000:]}")
    return list(range(1, tokens + 1))


def _mint(place: Scene, tokens: int, block_seconds: int) -> None:
    chain = place.world.chain
    chain.set_block_time(0)
    left = tokens
    for number in range(-(-tokens // BATCH)):
        collector = COLLECTORS[number % len(COLLECTORS)]
        chain.mint(ACCOUNTS.index(collector), AUTHORS[0].address, min(left, BATCH))
        left -= BATCH
    chain.mine(2)
    chain.set_block_time(block_seconds)
    if chain.next_token_id() != tokens + 1:
        raise RuntimeError(f"{chain.next_token_id() - 1} of {tokens} tokens were minted")


def _make_ready(place: Scene, token_ids: list[int]) -> float:
    """Make tokens ready and wake the reveal, as an upload's commit does; return when."""
    session = place.statements.session
    with session.transaction():
        session.execute(
            "UPDATE tokens_s0 SET status = 'ready', status_changed_at = now(), "
            "next_attempt_at = NULL WHERE token_id = ANY(%s)",
            [token_ids],
        )
        session.execute("NOTIFY glisk_reveal")
    return time.time()


# -- one and many ---------------------------------------------------------------------------


def _reveal_lone(place: Scene, token_id: int) -> float:
    """Return the seconds from ready to the first sight of the transaction in the node's pool."""
    block = place.watch.newest
    ready_at = _make_ready(place, [token_id])
    (reveal,) = _wait_for_reveals(place, {token_id}, block)
    return place.watch.pending[reveal.tx_hash] - ready_at


def _reveal_many(
    place: Scene, token_ids: list[int], options: argparse.Namespace, measured: Measured
) -> None:
    block = place.watch.wait_for_block(after=place.watch.newest)
    calls = _gateway_calls(place)
    groups = (PROGRAM, ("postgres",), EMULATORS)
    before = [place.usage(*group).cpu_seconds for group in groups]
    with ThreadPoolExecutor(1) as pool:
        ready_at = _make_ready(place, token_ids)
        answers = pool.submit(_answers, place, options)
        reveals = _wait_for_reveals(place, set(token_ids), block)
        measured.busy, measured.busy_health = answers.result()
    place.statements.wait_for(
        f"SELECT count(*) = {len(token_ids)} FROM tokens_s0 "
        f"WHERE status = 'revealed' AND token_id >= {min(token_ids)}",
        30,
    )
    after = [place.usage(*group).cpu_seconds for group in groups]
    # What follows the reveals holds up none of them, so it is no part of the figures.
    place.statements.wait_for(
        "SELECT bool_and(read_back_at IS NOT NULL) FROM reveal_transactions "
        "WHERE status = 'confirmed'",
        90,
    )
    watch = place.watch
    measured.reveals = reveals
    measured.last_revealed = max(watch.blocks[r.block_number] for r in reveals) - ready_at
    measured.last_broadcast = max(watch.pending[r.tx_hash] for r in reveals) - ready_at
    measured.cpu_seconds = [end - start for start, end in zip(before, after, strict=True)]
    measured.gateway_calls = _gateway_calls(place) - calls


def _wait_for_reveals(place: Scene, wanted: set[int], block: int) -> list[Reveal]:
    """Look at each new block once. Raises `TimeoutError`."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    reveals: dict[str, Reveal] = {}
    seen = block
    while time.monotonic() < deadline:
        newest = place.watch.wait_for_block(after=seen)
        for reveal in place.world.chain.reveal_transactions(from_block=seen + 1):
            if reveal.block_number <= newest:  # a later one is looked at with its block
                reveals[reveal.tx_hash] = reveal
        seen = newest
        if {token_id for reveal in reveals.values() for token_id in reveal.token_ids} >= wanted:
            return list(reveals.values())
    raise TimeoutError(f"not all tokens were revealed within {_TIMEOUT_SECONDS:g} s")


def _gateway_calls(place: Scene) -> int:
    calls: list[dict[str, Any]] = place.world.control("gateway", "calls")["calls"]
    return max((call["number"] for call in calls), default=0)


# -- the web server meanwhile ---------------------------------------------------------------


def _answers(place: Scene, options: argparse.Namespace) -> tuple[Result, list[float]]:
    """Send signed webhooks and ask for /health meanwhile; return both latencies."""
    health: list[float] = []
    ended = threading.Event()
    prober = threading.Thread(target=_probe, args=(place.world.ports.web, health, ended))
    prober.start()
    try:
        webhooks = Postman(place).nothing(options.events, per_second=options.rate)
    finally:
        ended.set()
        prober.join()
    return webhooks, health


def _probe(port: int, latencies_ms: list[float], ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not ended.wait(_HEALTH_PAUSE_SECONDS):
        start = time.perf_counter()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"/health answered {answer.status}")
        latencies_ms.append(1000 * (time.perf_counter() - start))
    connection.close()


# -- what it means --------------------------------------------------------------------------


def _report(measured: Measured, options: argparse.Namespace, machine: dict[str, Any]) -> Report:
    tokens = options.tokens
    full = [r for r in measured.reveals if len(r.token_ids) == BATCH] or measured.reveals
    gas = mean(reveal.gas_used / len(reveal.token_ids) for reveal in full)
    blocks = -(-tokens * gas // BLOCK_GAS)
    program, postgres, emulators = (1000 * s / tokens for s in measured.cpu_seconds)
    return Report(
        name=NAME,
        figures=rounded(
            {
                "tokens_per_s": tokens / measured.last_revealed,
                "gas_per_token_at_50": gas,
                "lone_broadcast_s": median_of(measured.lone),
                "lone_broadcast_worst_s": max(measured.lone, default=0.0),
                "all_revealed_s": measured.last_revealed,
                "last_broadcast_s": measured.last_broadcast,
                "transactions": float(len(measured.reveals)),
                "cpu_ms_per_token": program,
                "postgres_cpu_ms_per_token": postgres,
                "emulators_cpu_ms_per_token": emulators,
                "webhook_p99_ms": percentile(measured.busy.latencies_ms, 0.99),
                "health_p99_ms": percentile(measured.busy_health, 0.99),
            }
        ),
        floor=rounded(
            {
                "tokens_per_s": tokens / (blocks * options.block_seconds),
                "lone_broadcast_s": 0.0,
                "all_revealed_s": blocks * options.block_seconds,
                "transactions": float(-(-tokens // BATCH)),
                "webhook_p99_ms": percentile(measured.quiet.latencies_ms, 0.99),
                "health_p99_ms": percentile(measured.quiet_health, 0.99),
            }
        ),
        machine=machine,
        notes=(
            f"{tokens} tokens ready in one commit, blocks {options.block_seconds} s, "
            f"{measured.gateway_calls} fetches from the gateway; floor: one block takes them all",
            f"lone: {options.lone} tokens, each ready while nothing else is, until the node "
            "announces the pending transaction",
            f"webhook and health: {options.events} signed events at {options.rate:g}/s and a probe "
            "every 50 ms while the tokens are revealed; floor: the same before",
        ),
    )
