"""Every page of the admin on a database of years: how long does an operator wait?

A web server as in production, on 1,000,000 tokens (benchmarks/big_database.py); pages are asked
for one after the other by HTTP with a session, each several times. No node, no vendor and no
worker runs meanwhile. CPU stands beside time: a busy machine makes waits longer, not work.
"""

from __future__ import annotations

import argparse
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, median

import requests

from benchmarks.admin_addresses import OPERATOR, PREVIEW, add_operators_work, addresses, authors_csv
from benchmarks.big_database import TOKENS, fill_world
from benchmarks.instruments import StatementLog, usage
from benchmarks.report import Options, Result
from benchmarks.scene import bare_world
from sandbox.world import World

OPTIONS: Options = {
    "tokens": (TOKENS, "in the database"),
    "rounds": (7, "requests of a page"),
    "every": (1, "so many pages, one is timed"),
    "pages": (False, "print the time of every page"),
}
LIMIT_MS = 300.0
_FRAME = "/admin/password_change/"  # session, user, sidebar, no table
_SHOWN = 120  # characters of an address
_PREVIEWED = 100  # authors that are known, and as many new ones
_CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True)
class Timing:
    """How long a page took, and the CPU of web server and database for it, in milliseconds."""

    page: str
    median_ms: float
    slowest_ms: float
    cpu_ms: float


def run(options: argparse.Namespace) -> Result:
    """Fill a database, sign in, and ask for every page."""
    with bare_world("admin_pages") as world:
        fill_world(world, options.tokens)
        statements = StatementLog(world.directory / "postgres")
        statements.switch(on=False)
        operator = Operator(world, statements, options.rounds)
        timings = operator.time_all(every=options.every)
        frame = operator.time(_FRAME)
        statements.close()
    timings.sort(key=lambda timing: -timing.median_ms)
    if options.pages:
        print("  median      max      cpu  ms")
        for each in timings:
            numbers = (each.median_ms, each.slowest_ms, each.cpu_ms)
            print(*(f"{number:8.1f}" for number in numbers), "", each.page[:_SHOWN])
    floor = frame.median_ms if frame else 0.0
    return Result(
        {
            "worst_median_ms": (timings[0].median_ms, floor),
            "middle_median_ms": (median(timing.median_ms for timing in timings), floor),
            "worst_cpu_ms": max(timing.cpu_ms for timing in timings),
            "mean_cpu_ms": mean(timing.cpu_ms for timing in timings),
            "pages": len(timings),
            "pages_over_limit": (sum(t.median_ms > LIMIT_MS for t in timings), 0.0),
        },
        (
            f"{len(timings)} pages, {options.rounds} requests each, {options.tokens:,} tokens; "
            f"worst: {timings[0].page[:_SHOWN]}",
            "floor: the change of one's password, a page that shows nothing of the database",
        ),
    )


class Operator:
    """An operator's session, and a look at the processes that serve it."""

    def __init__(self, world: World, statements: StatementLog, rounds: int) -> None:
        password = secrets.token_urlsafe(12)
        world.manage(
            *("createsuperuser", "--noinput", f"--username={OPERATOR}", "--email=o@example.org"),
            DJANGO_SUPERUSER_PASSWORD=password,
        )
        add_operators_work(statements.session)
        world.start_apps(migrate=False)
        self._web, self._database, self._rounds = world.ports.url("web"), statements, rounds
        self._pids = [world.services["web"].pid, statements.server_pid]
        self._session = requests.Session()
        login = "/admin/login/"
        form = {"username": OPERATOR, "password": password} | self._csrf(login)
        answer = self._session.post(self._web + login, form, allow_redirects=False, timeout=30)
        if answer.status_code != requests.codes.found:
            raise RuntimeError(f"signing in was answered with {answer.status_code}")

    def _csrf(self, page: str) -> dict[str, str]:
        (token,) = _CSRF.findall(self._session.get(self._web + page, timeout=60).text)[:1]
        return {"csrfmiddlewaretoken": token}

    def time_all(self, *, every: int) -> list[Timing]:
        """Time every page, or one of so many, and the preview of a file of authors."""
        pages = dict.fromkeys(addresses(lambda page: self._open(page).text, self._database.value))
        timings = (self.time(page) for page in list(pages)[::every])
        return [*(timing for timing in timings if timing is not None), self._time_preview()]

    def time(self, page: str) -> Timing | None:
        """Ask once unmeasured, then several times; None for a list that is not so long."""
        if self._open(page).status_code == requests.codes.found:
            return None
        return self._timing(page, lambda: self._open(page))

    def _time_preview(self) -> Timing:
        """Send a file of authors several times, and look at what the preview says of it."""
        known = self._database.session.execute(
            "SELECT wallet_address FROM authors ORDER BY id DESC LIMIT %s", [_PREVIEWED]
        ).fetchall()
        file = authors_csv([wallet for (wallet,) in known], _PREVIEWED)
        form = {"format": "0", "resource": ""} | self._csrf(PREVIEW)

        def send() -> None:
            answer = self._session.post(
                self._web + PREVIEW, form, files={"import_file": ("authors.csv", file)}, timeout=60
            )
            if answer.status_code != requests.codes.ok or "confirm" not in answer.text.lower():
                raise RuntimeError(f"the preview was answered with {answer.status_code}")

        send()
        return self._timing(f"{PREVIEW} ({2 * _PREVIEWED} rows)", send)

    def _timing(self, page: str, ask: Callable[[], object]) -> Timing:
        before = usage(self._pids)
        taken = [_milliseconds(ask) for _ in range(self._rounds)]
        used = usage(self._pids) - before
        return Timing(page, median(taken), max(taken), 1000 * used.cpu_seconds / self._rounds)

    def _open(self, page: str) -> requests.Response:
        """Return a page; a list's later page may lead elsewhere. Raises RuntimeError."""
        answer = self._session.get(self._web + page, allow_redirects=False, timeout=60)
        is_beyond = answer.status_code == requests.codes.found and "p=" in page
        if answer.status_code != requests.codes.ok and not is_beyond:
            raise RuntimeError(f"{page} was answered with {answer.status_code}")
        return answer


def _milliseconds(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - started)
