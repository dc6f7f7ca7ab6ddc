"""Every page of the admin on a database of years: how long does an operator wait?

A web server as in production, on 1,000,000 tokens (benchmarks/big_database.py); pages are asked
for one after the other by HTTP with a session, each several times. No node, no vendor and no
worker runs meanwhile. CPU stands beside time: a busy machine makes waits longer, not work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg
import requests

from benchmarks.admin_addresses import PREVIEW, addresses, authors_csv
from benchmarks.big_database import TOKENS
from benchmarks.filled_world import csrf_token, fill, sign_in
from benchmarks.processes import parent_of, usage
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import bare_world
from sandbox.world import World

NAME = "admin_pages"
LIMIT_MS = 300.0
# The frame that every page has: session, user, sidebar, no table.
_FRAME = "/admin/password_change/"
_SHOWN = 120  # characters of an address
_PREVIEWED = 100  # authors that are known, and as many new ones
_PROBES = 200
_HEALTH = ("", "/blockchain", "/keeper", "/workers", "/metrics")


@dataclass(frozen=True)
class Timing:
    """How long a page took, and the CPU of web server and database for it, in milliseconds."""

    page: str
    median_ms: float
    slowest_ms: float
    cpu_ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=TOKENS, help="(default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=7, help="requests of a page (default 7)")
    parser.add_argument("--pages", action="store_true", help="print the time of every page")
    parser.add_argument("--only", default="", help="pages whose address holds this text")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="leave the database there, and use the one of an earlier run (whose times have aged)",
    )


def run(options: argparse.Namespace) -> Report:
    """Fill a database, sign in, and ask for every page."""
    machine = machine_facts()
    with bare_world(NAME, options.keep) as world:
        fill(world, options.tokens)
        world.start_apps(migrate=False)
        with psycopg.connect(world.database_url(), autocommit=True) as database:
            asker = _Asker(world, database, options.rounds)
            timings = _time_all(asker, options.only)
            frame = asker.time(_FRAME)
            health = {page: _p95(partial(asker.probe, page)) for page in _HEALTH}
        floor = _p95(lambda: _database_answers(world.database_url()))
    timings.sort(key=lambda timing: -timing.median_ms)
    if options.pages:
        print("  median      max      cpu  ms")
        for timing in timings:
            print(
                f"{timing.median_ms:8.1f} {timing.slowest_ms:8.1f} {timing.cpu_ms:8.1f}  "
                f"{timing.page[:_SHOWN]}"
            )
    worst = timings[0]
    return Report(
        name=NAME,
        figures=rounded(
            {
                "worst_median_ms": worst.median_ms,
                "middle_median_ms": median(timing.median_ms for timing in timings),
                "worst_cpu_ms": max(timing.cpu_ms for timing in timings),
                "pages": float(len(timings)),
                "pages_over_limit": float(sum(t.median_ms > LIMIT_MS for t in timings)),
                **{f"health{page.replace('/', '_')}_p95_ms": ms for page, ms in health.items()},
            }
        ),
        floor=rounded(
            {
                "worst_median_ms": frame.median_ms if frame else 0.0,
                "middle_median_ms": frame.median_ms if frame else 0.0,
                "worst_cpu_ms": frame.cpu_ms if frame else 0.0,
                "pages_over_limit": 0.0,
                "health_p95_ms": floor,
            }
        ),
        machine=machine,
        notes=(
            f"{len(timings)} pages, {options.rounds} requests each, {options.tokens:,} tokens; "
            f"worst: {worst.page[:_SHOWN]}",
            "floor: the change of one's password, a page that shows nothing of the database; for "
            "health a connection to PostgreSQL and SELECT 1",
            "health pages on that database, without node, vendors and workers",
        ),
    )


def _time_all(asker: _Asker, only: str) -> list[Timing]:
    """Time every page, and the preview of a file of authors."""
    pages = dict.fromkeys(addresses(asker.get, asker.value))
    timings = (asker.time(page) for page in pages if only in page)
    found = [timing for timing in timings if timing is not None]
    if only in PREVIEW:
        found.append(asker.time_preview())
    if not found:
        raise RuntimeError(f"no address holds {only!r}")
    return found


class _Asker:
    """An operator's session, and a look at the processes that serve it."""

    def __init__(self, world: World, database: psycopg.Connection[Any], rounds: int) -> None:
        self._web, self._database, self._rounds = world.ports.url("web"), database, rounds
        self._session = sign_in(world)
        self._pids = [world.services["web"].pid, _postmaster(database)]

    def get(self, page: str) -> str:
        return self._open(page).text

    def value(self, query: str) -> object:
        """Return the only value of a query's first row."""
        row = self._database.execute(query.encode()).fetchone()
        return row and row[0]

    def time(self, page: str) -> Timing | None:
        """Ask once unmeasured, then several times; None for a list that is not so long.

        Raises RuntimeError if the page does not open.
        """
        if self._open(page).status_code == requests.codes.found:
            return None
        return self._timing(page, lambda: self._open(page))

    def time_preview(self) -> Timing:
        """Send a file of authors several times, and look at what the preview says of it."""
        rows = self._database.execute(
            "SELECT wallet_address FROM authors ORDER BY id DESC LIMIT %s", [_PREVIEWED]
        ).fetchall()
        file = authors_csv([wallet for (wallet,) in rows], _PREVIEWED)
        form = {
            "format": "0",
            "resource": "",
            "csrfmiddlewaretoken": csrf_token(self._session, self._web + PREVIEW),
        }

        def send() -> None:
            answer = self._session.post(
                self._web + PREVIEW, form, files={"import_file": ("authors.csv", file)}, timeout=60
            )
            if answer.status_code != requests.codes.ok or "confirm" not in answer.text.lower():
                raise RuntimeError(f"the preview was answered with {answer.status_code}")

        send()
        return self._timing(f"{PREVIEW} ({2 * _PREVIEWED} rows)", send)

    def probe(self, page: str) -> None:
        requests.get(f"{self._web}/health{page}", timeout=10).raise_for_status()

    def _timing(self, page: str, ask: Callable[[], object]) -> Timing:
        cpu = usage(self._pids).cpu_seconds
        taken = [_milliseconds(ask) for _ in range(self._rounds)]
        cpu = usage(self._pids).cpu_seconds - cpu
        return Timing(page, median(taken), max(taken), 1000 * cpu / self._rounds)

    def _open(self, page: str) -> requests.Response:
        answer = self._session.get(self._web + page, allow_redirects=False, timeout=60)
        is_beyond = answer.status_code == requests.codes.found and "p=" in page
        if answer.status_code != requests.codes.ok and not is_beyond:
            raise RuntimeError(f"{page} was answered with {answer.status_code}")
        return answer


def _postmaster(database: psycopg.Connection[Any]) -> int:
    pid = parent_of(database.info.backend_pid)
    if pid is None:
        raise RuntimeError("the database's connection is gone")
    return pid


def _database_answers(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")


def _p95(ask: Callable[[], object]) -> float:
    """Return the 95th percentile of a question's time in milliseconds."""
    return quantiles([_milliseconds(ask) for _ in range(_PROBES)], n=20)[18]


def _milliseconds(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - started)
