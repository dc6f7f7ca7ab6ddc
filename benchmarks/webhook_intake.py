"""Signed events into the real web server with two workers: how many, and how soon answered?

A lean client in a process of its own sends mints over kept-alive connections, eight at once;
its own CPU is told. Beside it, in turns: the same server answering signed events in which
nothing is to be done (no database), and the bare database committing twice per event.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any

import psycopg

from benchmarks.intake_client import Plan, send_events
from benchmarks.lean_client import Result, run_apart
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import Scene, scene
from sandbox.accounts import AUTHORS, COLLECTORS, KEEPER
from sandbox.world import WorldOptions

NAME = "webhook_intake"
CONNECTIONS = 8
TOKENS_AT_ONCE = 50
# The ids of mints that no chain knows; real ones start at 1.
_FIRST_TOKEN = 1_000_000
_WARM_UP_EVENTS = 200
_SETTLE_SECONDS = 2.0
# No image is made for mints that no chain knows: the vendor "is out" while we measure.
_NO_GENERATION = json.dumps({"state": "open", "retry_at": "2999-01-01T00:00:00+00:00"})


@dataclass
class Measured:
    """What was found; one result per round, the reveal's phase once."""

    single: list[Result] = field(default_factory=list)
    nothing_to_do: list[Result] = field(default_factory=list)
    commits_per_s: list[float] = field(default_factory=list)
    web_cpu_ms: list[float] = field(default_factory=list)
    postgres_cpu_ms: list[float] = field(default_factory=list)
    batches: list[Result] = field(default_factory=list)
    large_nothing_to_do: list[Result] = field(default_factory=list)
    batch_database_ms: list[float] = field(default_factory=list)
    during_reveal: Result = field(default_factory=Result)
    nothing_during_reveal: Result = field(default_factory=Result)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=1500, help="per round (default 1500)")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--batches", type=int, default=60, help="of 50 tokens (default 60)")
    parser.add_argument("--reveal-seconds", type=float, default=10.0, help="default 10")
    parser.add_argument("--reveal-rate", type=float, default=40.0, help="events/s (default 40)")


def run(options: argparse.Namespace) -> Report:
    """Send events while a reveal waits; then, with the worker stopped, as many as possible."""
    machine = machine_facts()
    settings = WorldOptions(generation_seconds="0.2", pin_seconds="0.05", image_size=256)
    with scene(NAME, settings) as place:
        post = Postman(place)
        measured = Measured()
        _keep_a_reveal_waiting(place, lambda: _during_reveal(post, options, measured))
        place.world.services["worker-1"].stop()
        post.mints(_WARM_UP_EVENTS)
        place.statements.session.execute("ANALYZE")
        for _ in range(options.rounds):
            _round(place, post, options, measured)
        _batches(place, post, options, measured)
    return _report(measured, options, machine)


class Postman:
    """Sends events with ids that were never used before."""

    def __init__(self, place: Scene) -> None:
        env = place.world.env
        self._next = _FIRST_TOKEN
        self._plan = Plan(
            port=place.world.ports.web,
            signing_key=env["ALCHEMY_WEBHOOK_SECRET"],
            contract=env["GLISK_NFT_CONTRACT_ADDRESS"],
            minter=COLLECTORS[0].address,
            prompt_author=AUTHORS[0].address,
            events=0,
            connections=CONNECTIONS,
        )

    def mints(self, events: int, **changes: Any) -> Result:
        """Send mints from another process. Raises `RuntimeError` if one is not taken in."""
        return run_apart("benchmarks.intake_client", asdict(self._planned(events, **changes)))

    def mint_from_here(self, **changes: Any) -> Result:
        """Send one mint from this process."""
        return send_events(self._planned(1, connections=1, **changes))

    def nothing(self, events: int, **changes: Any) -> Result:
        """Send heartbeats: signed events without logs."""
        return self.mints(events, quantity=0, **changes)

    def _planned(self, events: int, **changes: Any) -> Plan:
        plan = replace(self._plan, events=events, first_token=self._next, **changes)
        self._next += events * max(1, plan.quantity)
        return plan


# -- while a reveal waits for its receipt -------------------------------------------------


def _keep_a_reveal_waiting(place: Scene, work: Callable[[], None]) -> None:
    """Mint, stop the blocks, and do the work between the reveal's broadcast and its receipt."""
    chain, watch = place.world.chain, place.watch
    block = int(chain.wait(chain.mint(1, AUTHORS[0].address))["blockNumber"])
    watch.wait_for_block(after=block - 1)
    chain.set_block_time(0)
    _wait_for_broadcast(place)
    place.statements.session.execute(
        "INSERT INTO system_state (state_key, state_value, updated_at) "
        "VALUES ('breaker:replicate', %s, now()) "
        "ON CONFLICT (state_key) DO UPDATE SET state_value = EXCLUDED.state_value",
        [_NO_GENERATION],
    )
    time.sleep(_SETTLE_SECONDS)  # until every process has read it
    work()
    if chain.reveal_transactions(from_block=block):
        raise RuntimeError("the reveal was mined too soon")
    chain.mine()


def _wait_for_broadcast(place: Scene, timeout_seconds: float = 30.0) -> None:
    """Return when the keeper's transaction is in the node's pool. Raises `TimeoutError`."""
    chain = place.world.chain
    deadline = time.monotonic() + timeout_seconds
    keeper = KEEPER.address.lower()
    while not any(sender.lower() == keeper for sender in chain.rpc("txpool_content")["pending"]):
        if time.monotonic() > deadline:
            raise TimeoutError("the token was not revealed; its block may have come too soon")
        time.sleep(0.05)


def _during_reveal(post: Postman, options: argparse.Namespace, measured: Measured) -> None:
    rate = options.reveal_rate
    events = max(1, round(rate * options.reveal_seconds))
    measured.nothing_during_reveal = post.nothing(events, per_second=rate)
    measured.during_reveal = post.mints(events, per_second=rate)


# -- as many as possible ------------------------------------------------------------------


def _round(place: Scene, post: Postman, options: argparse.Namespace, measured: Measured) -> None:
    _log_statements(place, on=False)
    measured.nothing_to_do.append(post.nothing(options.events))
    before = [place.usage(kind).cpu_seconds for kind in ("web", "postgres")]
    measured.single.append(post.mints(options.events))
    after = [place.usage(kind).cpu_seconds for kind in ("web", "postgres")]
    web, postgres = (
        1000 * (end - start) / options.events for start, end in zip(before, after, strict=True)
    )
    measured.web_cpu_ms.append(web)
    measured.postgres_cpu_ms.append(postgres)
    measured.commits_per_s.append(_bare_commits(place, options.events))


def _bare_commits(place: Scene, events: int) -> float:
    """Return how many times a second the database alone commits an event's bytes twice."""
    session = place.statements.session
    session.execute("DROP TABLE IF EXISTS bare_commits")
    session.execute("CREATE TABLE bare_commits (body bytea NOT NULL)")
    url = place.world.database_url()
    share = max(1, events // CONNECTIONS)

    def commit(connection: psycopg.Connection[Any]) -> None:
        for _ in range(share):
            for body in (b"x" * 1200, b"y" * 1200):
                connection.execute("INSERT INTO bare_commits VALUES (%s)", [body], prepare=True)

    connections = [psycopg.connect(url, autocommit=True) for _ in range(CONNECTIONS)]
    try:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            start = time.perf_counter()
            list(pool.map(commit, connections))
            return share * CONNECTIONS / (time.perf_counter() - start)
    finally:
        for connection in connections:
            connection.close()
        session.execute("DROP TABLE bare_commits")


def _batches(place: Scene, post: Postman, options: argparse.Namespace, measured: Measured) -> None:
    """Send events of 50 tokens one by one: the whole requests, then the database's part."""
    large = {"quantity": TOKENS_AT_ONCE, "connections": 1}
    post.mints(min(10, options.batches), **large)
    measured.large_nothing_to_do.append(post.nothing(options.batches, connections=1))
    measured.batches.append(post.mints(options.batches, **large))
    _log_statements(place, on=True)
    for _ in range(options.batches):
        place.statements.mark()
        post.mint_from_here(quantity=TOKENS_AT_ONCE)
        measured.batch_database_ms.append(place.statements.since_mark().server_ms)


def _log_statements(place: Scene, *, on: bool) -> None:
    """Have PostgreSQL log durations or not; some lines per statement cost throughput."""
    place.statements.session.execute(f"ALTER SYSTEM SET log_duration = {'on' if on else 'off'}")
    place.statements.session.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)  # sessions hear of it between two statements


# -- what it means ------------------------------------------------------------------------


def percentile(values: list[float], part: float) -> float:
    """Return the smallest value that is not exceeded by this part (0 to 1) of the values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def _across(results: list[Result], part: float) -> float:
    """Return the median over the rounds of a percentile of their latencies, in ms."""
    return float(median(percentile(result.latencies_ms, part) for result in results))


def _report(measured: Measured, options: argparse.Namespace, machine: dict[str, Any]) -> Report:
    single, nothing = measured.single, measured.nothing_to_do
    rates = [result.per_second for result in single]
    nothing_per_s = median(result.per_second for result in nothing)
    commits_per_s = median(measured.commits_per_s)
    client = median(1000 * result.cpu_seconds / len(result.latencies_ms) for result in single)
    return Report(
        name=NAME,
        figures=rounded(
            {
                "single_per_s": median(rates),
                "single_p50_ms": _across(single, 0.5),
                "single_p95_ms": _across(single, 0.95),
                "batch50_p50_ms": median(measured.batch_database_ms),
                "batch50_request_p50_ms": _across(measured.batches, 0.5),
                "during_reveal_p95_ms": percentile(measured.during_reveal.latencies_ms, 0.95),
                "during_reveal_p99_ms": percentile(measured.during_reveal.latencies_ms, 0.99),
                "web_cpu_ms_per_event": median(measured.web_cpu_ms),
                "postgres_cpu_ms_per_event": median(measured.postgres_cpu_ms),
                "client_cpu_ms_per_event": client,
            }
        ),
        floor=rounded(
            {
                "single_per_s": min(nothing_per_s, commits_per_s),
                "single_p50_ms": _across(nothing, 0.5),
                "single_p95_ms": _across(nothing, 0.95),
                "batch50_request_p50_ms": _across(measured.large_nothing_to_do, 0.5),
                "during_reveal_p95_ms": percentile(
                    measured.nothing_during_reveal.latencies_ms, 0.95
                ),
                "during_reveal_p99_ms": percentile(
                    measured.nothing_during_reveal.latencies_ms, 0.99
                ),
            }
        ),
        machine=machine,
        notes=(
            f"{options.rounds} rounds of {options.events} mints at concurrency {CONNECTIONS}, "
            f"worker stopped; rounds from {min(rates):.0f} to {max(rates):.0f} per second; "
            "figures are medians over the rounds",
            f"floors of the same rounds: {nothing_per_s:.0f} signed events a second with nothing "
            f"to do, {commits_per_s:.0f} pairs of bare commits a second; the lower one stands",
            "batch50: the database's own time by its log, and the whole request; during_reveal: "
            f"{options.reveal_rate:g} mints a second with a worker whose reveal is not mined, "
            "each timed from the moment it was due",
        ),
    )
