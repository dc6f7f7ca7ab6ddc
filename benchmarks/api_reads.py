"""Polling: the frontend asks for a wallet's newest tokens, 200 times a second.

A web server as in production with two workers, on 1,000,000 tokens (benchmarks/big_database.py),
of which 100,000 belong to the author who is polled for. Requests are due at a fixed rate, and
their latency counts from then. Beside it, in turns: the cheapest answer of the same server.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median

import psycopg

from benchmarks.big_database import AUTHORS, REVEALS, TOKENS
from benchmarks.lean_client import read
from benchmarks.processes import parent_of, usage
from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import bare_world
from benchmarks.statements import StatementLog
from benchmarks.webhook_intake import percentile
from sandbox.world import BASE_DIR, World

NAME = "api_reads"
CONNECTIONS = 16
_SHARE = 10  # one token in so many belongs to the author
_COUNTED = 5  # requests whose statements are counted
_BUYERS = 2000
_NO_WALLET = "/api/authors/nobody/tokens?limit=100"


@dataclass(frozen=True)
class Question:
    """A path, and the name of its figures; `{…}` stand for what the database holds."""

    name: str
    path: str


QUESTIONS = (
    Question("", "/api/authors/{wallet}/tokens?limit=100"),
    Question("buyers_", "/api/authors/{buyer}/tokens?limit=100"),
    Question("page_", "/api/authors/{wallet}/tokens?limit=20&offset=40"),
    Question("mint_", "/api/mints/{tx_hash}"),
    Question("list_", "/api/tokens?minter={minter}&limit=20"),
    Question("leaderboard_", "/api/authors/leaderboard"),
)


@dataclass(frozen=True)
class Facts:
    """What the database holds: something to ask for, and its server's first process.

    `buyers` are wallets of which each request takes another one.
    """

    words: dict[str, str]
    buyers: list[str]
    postgres_pid: int

    def paths(self, path: str, number: int) -> list[str]:
        """Return a question so many times, each with the next buyer."""
        size = len(self.buyers)
        return [path.format(buyer=self.buyers[i % size], **self.words) for i in range(number)]


@dataclass(frozen=True)
class Measured:
    """One round: latency, and CPU of web server and database together, per request."""

    p95_ms: float
    cpu_ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=TOKENS, help="(default 1,000,000)")
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second (200)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each question (10)")
    parser.add_argument("--rounds", type=int, default=3, help="of the polling (default 3)")


def run(options: argparse.Namespace) -> Report:
    """Fill a database and ask; the polling in rounds, everything else once."""
    machine = machine_facts()
    with bare_world(NAME) as world:
        facts = _fill(world, options.tokens)
        world.start_apps(migrate=False)
        ask = _Asker(world, facts, options.rate, options.seconds)
        polled, floors = [], []
        path = QUESTIONS[0].path
        ask(path, seconds=2)  # warm
        for _ in range(options.rounds):
            floors.append(ask(_NO_WALLET))
            polled.append(ask(path))
        figures = _middle(polled) | {"queries": _queries(world, facts, path)}
        for question in QUESTIONS[1:]:
            found = _middle([ask(question.path)])
            found["queries"] = _queries(world, facts, question.path)
            figures |= {question.name + name: value for name, value in found.items()}
    return Report(
        name=NAME,
        figures=rounded(figures),
        floor=rounded(_middle(floors)),
        machine=machine,
        notes=(
            f"{options.rate:g} requests a second, each timed from the moment it was due; "
            f"{options.tokens:,} tokens, {options.tokens // _SHARE:,} of the author",
            "queries: statements of a request when nothing is remembered; cpu_ms: of web server "
            "and database; floor: the same address for what is no wallet, without the database",
        ),
    )


class _Asker:
    """Asks one question at a fixed rate."""

    def __init__(self, world: World, facts: Facts, rate: float, seconds: float) -> None:
        self._port, self._facts = world.ports.web, facts
        self._rate, self._seconds = rate, seconds
        self._roots = [world.services["web"].pid, facts.postgres_pid]

    def __call__(self, path: str, seconds: float | None = None) -> Measured:
        paths = self._facts.paths(path, round(self._rate * (seconds or self._seconds)))
        before = usage(self._roots).cpu_seconds
        result = read(paths, port=self._port, connections=CONNECTIONS, per_second=self._rate)
        used = usage(self._roots).cpu_seconds - before
        return Measured(percentile(result.latencies_ms, 0.95), 1000 * used / len(paths))


def _middle(rounds: list[Measured]) -> dict[str, float]:
    return {
        "p95_ms": float(median(each.p95_ms for each in rounds)),
        "cpu_ms": float(median(each.cpu_ms for each in rounds)),
    }


def _queries(world: World, facts: Facts, path: str) -> float:
    """Return the most statements that one request takes, by PostgreSQL's own log."""
    statements = StatementLog(world.directory / "postgres")
    found = []
    try:
        for asked in facts.paths(path, _COUNTED):
            time.sleep(2.1)  # what is remembered for two seconds is asked for again
            statements.mark()
            read([asked], port=world.ports.web, connections=1, per_second=0)
            found.append(float(statements.since_mark().count))
    finally:
        statements.close()
    return max(found)


def _fill(world: World, tokens: int) -> Facts:
    """Fill the database, give one author a tenth of the tokens, and return what to ask for."""
    world.manage("migrate", "--verbosity", "0")
    share = tokens / TOKENS
    subprocess.run(
        [
            sys.executable, "-m", "benchmarks.big_database",
            "--tokens", str(tokens),
            "--authors", str(max(10, round(AUTHORS * share))),
            "--reveals", str(max(10, round(REVEALS * share))),
        ],
        cwd=BASE_DIR, env=world.env, check=True, timeout=900, stdout=sys.stderr,
    )  # fmt: skip
    with psycopg.connect(world.database_url(), autocommit=True) as database:
        row = database.execute(
            "SELECT t.prompt_author_wallet, t.minter_address, m.tx_hash FROM tokens_s0 t "
            "JOIN mint_events m ON m.id = t.mint_event_id ORDER BY t.token_id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise RuntimeError("the database has no token")
        wallet, minter, tx_hash = row
        database.execute(
            "UPDATE tokens_s0 SET prompt_author_wallet = %s WHERE token_id %% %s = 0",
            [wallet, _SHARE],
        )
        database.execute("VACUUM (ANALYZE) tokens_s0")
        buyers = database.execute(
            "SELECT wallet_address FROM authors ORDER BY id LIMIT %s", [_BUYERS]
        ).fetchall()
        server = parent_of(database.info.backend_pid)
    if server is None:
        raise RuntimeError("the database is gone")
    words = {"wallet": wallet, "minter": minter, "tx_hash": tx_hash}
    return Facts(words, [buyer for (buyer,) in buyers], server)
