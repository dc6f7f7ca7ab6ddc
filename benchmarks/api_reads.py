"""Polling: the frontend asks for a wallet's newest tokens, 200 times a second.

A web server as in production with two workers, on 1,000,000 tokens (benchmarks/big_database.py),
of which 100,000 belong to the author who is polled for. Requests are due at a fixed rate, and
their latency counts from then. Beside it, in turns: the cheapest answer of the same server.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.big_database import TOKENS, fill_world
from benchmarks.client import get, send
from benchmarks.instruments import StatementLog, usage
from benchmarks.report import Figure, Options, Result, percentile
from benchmarks.scene import bare_world
from sandbox.world import World

OPTIONS: Options = {
    "tokens": (TOKENS, "in the database"),
    "rate": (200.0, "requests a second"),
    "seconds": (10.0, "of each question"),
    "rounds": (3, "of the polling"),
}
# By the prefix of its figures; `{…}` stand for what the database holds.
QUESTIONS = {
    "": "/api/authors/{wallet}/tokens?limit=100",
    "buyers_": "/api/authors/{buyer}/tokens?limit=100",
    "page_": "/api/authors/{wallet}/tokens?limit=20&offset=40",
    "mint_": "/api/mints/{tx_hash}",
    "list_": "/api/tokens?minter={minter}&limit=20",
    "leaderboard_": "/api/authors/leaderboard",
}
_NO_WALLET = "/api/authors/nobody/tokens?limit=100"
_CONNECTIONS = 16
_SHARE = 10  # one token in so many belongs to the author
_COUNTED = 5  # requests whose statements are counted
_BUYERS = 2000


@dataclass(frozen=True)
class Measured:
    """Latency, and CPU of web server and database together, per request."""

    p95_ms: float
    cpu_ms: float


class Asker:
    """Asks one question at a fixed rate; each request takes another buyer's wallet."""

    def __init__(self, world: World, options: argparse.Namespace) -> None:
        self.statements = StatementLog(world.directory / "postgres")
        self._port, self._options = world.ports.web, options
        self._roots = [world.services["web"].pid, self.statements.server_pid]
        self._words, self._buyers = self._give_tokens()

    def _give_tokens(self) -> tuple[dict[str, Any], list[str]]:
        """Give the newest token's author a tenth of all; return what can be asked for."""
        session = self.statements.session
        row = session.execute(
            "SELECT t.prompt_author_wallet, t.minter_address, m.tx_hash FROM tokens_s0 t "
            "JOIN mint_events m ON m.id = t.mint_event_id ORDER BY t.token_id DESC LIMIT 1"
        ).fetchone()
        words = dict(zip(("wallet", "minter", "tx_hash"), row or (), strict=True))
        session.execute(
            "UPDATE tokens_s0 SET prompt_author_wallet = %s WHERE token_id %% %s = 0",
            [words["wallet"], _SHARE],
        )
        session.execute("VACUUM (ANALYZE) tokens_s0")
        buyers = session.execute(
            "SELECT wallet_address FROM authors ORDER BY id LIMIT %s", [_BUYERS]
        ).fetchall()
        return words, [buyer for (buyer,) in buyers]

    def ask(self, path: str, seconds: float | None = None) -> Measured:
        self.statements.switch(on=False)
        rate = self._options.rate
        requests = self._requests(path, round(rate * (seconds or self._options.seconds)))
        before = usage(self._roots)
        sent = send(requests, port=self._port, connections=_CONNECTIONS, per_second=rate)
        used = usage(self._roots) - before
        return Measured(
            percentile(sent.latencies_ms, 0.95), 1000 * used.cpu_seconds / len(requests)
        )

    def queries(self, path: str) -> float:
        """Return the most statements that one request takes, by PostgreSQL's own log."""
        self.statements.switch(on=True)
        found = []
        for request in self._requests(path, _COUNTED):
            time.sleep(2.1)  # what is remembered for two seconds is asked for again
            self.statements.mark()
            send([request], port=self._port)
            found.append(self.statements.since_mark().count)
        return max(found)

    def _requests(self, path: str, number: int) -> list[bytes]:
        return [
            get(path.format(buyer=self._buyers[i % len(self._buyers)], **self._words), self._port)
            for i in range(number)
        ]


def run(options: argparse.Namespace) -> Result:
    """Fill a database and ask; the polling in rounds, everything else once."""
    figures: dict[str, Figure] = {}
    with bare_world("api_reads") as world:
        fill_world(world, options.tokens)
        world.start_apps(migrate=False)
        asker = Asker(world, options)
        asker.ask(QUESTIONS[""], seconds=2)  # warm
        rounds = [(asker.ask(QUESTIONS[""]), asker.ask(_NO_WALLET)) for _ in range(options.rounds)]
        for name in ("p95_ms", "cpu_ms"):
            polled, floor = (
                median(getattr(m, name) for m in each) for each in zip(*rounds, strict=True)
            )
            figures[name] = polled, floor
        for prefix, path in QUESTIONS.items():
            if prefix:
                measured = asker.ask(path)
                figures[f"{prefix}p95_ms"] = measured.p95_ms
                figures[f"{prefix}cpu_ms"] = measured.cpu_ms
            figures[f"{prefix}queries"] = asker.queries(path)
        asker.statements.close()
    return Result(
        figures,
        (
            f"{options.rate:g} requests a second, each timed from the moment it was due; "
            f"{options.tokens:,} tokens, {options.tokens // _SHARE:,} of the author",
            "queries: statements of a request when nothing is remembered; cpu_ms: of web server "
            "and database; floor: the same address for what is no wallet, without the database",
        ),
    )
