"""The health pages while hundreds of tokens run through, and while others have stopped.

A monitor asks every page in turn, on one connection, from quiet to the worst: all tokens minted at
once, the node frozen so that it takes connections and says nothing, the node gone, the vendors
gone, the workers gone. No page may wait for any of them.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psycopg

from benchmarks.mint_many import DISTINCT_IMAGES, IMAGE_SIZE, MINTED_TOGETHER
from benchmarks.processes import tree_of
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import EMULATORS, Scene, scene
from benchmarks.webhook_intake import percentile
from sandbox.accounts import ACCOUNTS, AUTHORS, COLLECTORS
from sandbox.world import WorldOptions

NAME = "health"
PAGES = ("/health", "/health/blockchain", "/health/keeper", "/health/workers", "/health/metrics")
_PAUSE_SECONDS = 0.02
_TIMEOUT_SECONDS = 600.0
_ALL_REVEALED = "SELECT count(*) = {tokens} FROM tokens_s0 WHERE status = 'revealed'"

Latencies = dict[str, list[float]]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=500, help="minted at once (default 500)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each other part (10)")
    parser.add_argument("--generation-seconds", type=float, default=1.0, help="default 1.0")
    parser.add_argument("--pin-seconds", type=float, default=0.2, help="default 0.2")


def run(options: argparse.Namespace) -> Report:
    """Ask quietly, while the tokens run through, and while one after the other is stopped."""
    machine = machine_facts()
    settings = WorldOptions(
        generation_seconds=str(options.generation_seconds),
        pin_seconds=str(options.pin_seconds),
        image_size=IMAGE_SIZE,
        distinct_images=DISTINCT_IMAGES,
    )
    with scene(NAME, settings) as place:
        floor = _connections(place.world.database_url())
        parts = _parts(place, options)
    figures = {}
    for part, latencies in parts.items():
        figures[f"health_{part}_p95_ms"] = percentile(latencies["/health"], 0.95)
        others = [percentile(latencies[page], 0.95) for page in PAGES[1:]]
        figures[f"pages_{part}_p95_ms"] = max(others)
    return Report(
        name=NAME,
        figures=rounded(figures),
        floor=rounded(
            {
                f"{name}_{part}_p95_ms": percentile(floor, 0.95)
                for name in ("health", "pages")
                for part in parts
            }
        ),
        machine=machine,
        notes=(
            f"{options.tokens} tokens minted at once, generation {options.generation_seconds} s, "
            f"pins {options.pin_seconds} s; the other parts {options.seconds:g} s each, each with "
            "what was stopped before; pages: the slowest of the other four",
            f"times each page was asked: {_numbers(parts)}",
            "floor: a connection to PostgreSQL and SELECT 1, while nothing runs",
        ),
    )


def _numbers(parts: dict[str, Latencies]) -> str:
    return ", ".join(f"{part} {len(latencies['/health'])}" for part, latencies in parts.items())


def _parts(place: Scene, options: argparse.Namespace) -> dict[str, Latencies]:
    """Return the latencies of every part by its name."""
    services = place.world.services
    ask = partial(asked, place.world.ports.web)
    wait = partial(time.sleep, options.seconds)

    def stopped(*names: str) -> Latencies:
        for name in names:
            services[name].stop()
        return ask(wait)

    parts = {"quiet": ask(wait), "running": ask(lambda: _run_through(place, options.tokens))}
    with frozen(services["node"].pid):
        parts["node_frozen"] = ask(wait)
    parts["node_stopped"] = stopped("node")
    parts["vendors_stopped"] = stopped(*EMULATORS)
    parts["workers_stopped"] = stopped("worker-1")
    return parts


def _run_through(place: Scene, tokens: int) -> None:
    """Mint all tokens in one block, and return when the last one is revealed."""
    chain = place.world.chain
    chain.set_block_time(0)
    for number, start in enumerate(range(0, tokens, MINTED_TOGETHER)):
        collector = COLLECTORS[number % len(COLLECTORS)]
        quantity = min(MINTED_TOGETHER, tokens - start)
        chain.mint(ACCOUNTS.index(collector), AUTHORS[0].address, quantity)
    chain.mine()
    chain.set_block_time(2)
    place.statements.wait_for(_ALL_REVEALED.format(tokens=tokens), _TIMEOUT_SECONDS)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process with all its children."""
    pids = tree_of([pid])
    try:
        for each in pids:
            os.kill(each, signal.SIGSTOP)
        yield
    finally:
        for each in pids:
            os.kill(each, signal.SIGCONT)


def asked(port: int, work: Callable[[], object]) -> Latencies:
    """Ask every page in turn until `work` ends; return the latencies in ms. Raises RuntimeError."""
    latencies: Latencies = {page: [] for page in PAGES}
    refused: list[str] = []
    ended = threading.Event()
    prober = threading.Thread(target=_probe, args=(port, latencies, refused, ended))
    prober.start()
    try:
        work()
    finally:
        ended.set()
        prober.join()
    if refused:
        raise RuntimeError(f"{len(refused)} refused: {refused[0]}")
    return latencies


def _probe(port: int, latencies: Latencies, refused: list[str], ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not ended.is_set():
        for page in PAGES:
            start = time.perf_counter()
            connection.request("GET", page)
            answer = connection.getresponse()
            answer.read()
            latencies[page].append(1000 * (time.perf_counter() - start))
            if answer.status != http.client.OK:
                refused.append(f"{page} answered {answer.status}")
            ended.wait(_PAUSE_SECONDS)
    connection.close()


def _connections(url: str, number: int = 100) -> list[float]:
    """Return how long it takes to be told 1 by the database, in ms."""
    taken = []
    for _ in range(number):
        start = time.perf_counter()
        with psycopg.connect(url) as connection:
            connection.execute("SELECT 1")
        taken.append(1000 * (time.perf_counter() - start))
    return taken
