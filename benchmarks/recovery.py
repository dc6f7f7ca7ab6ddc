"""An empty database beside a chain full of mints: how soon is every token there?

The management command is timed inside its own process, without Python's start. What it asks the
node goes through a proxy, which counts.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from statistics import median

from aiohttp import web

from benchmarks.report import Options, Result
from benchmarks.scene import Scene
from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.chain import DemoChain
from sandbox.faulty_rpc import NodeProxy
from sandbox.world import WorldOptions


@dataclass(frozen=True)
class Traffic:
    """Requests over HTTP, the JSON-RPC calls in them, and the node's own seconds for them."""

    requests: int = 0
    calls: int = 0
    node_seconds: float = 0.0


class RpcProxy(NodeProxy):
    """Listens on a free port of loopback while it is open; see `url`."""

    def __init__(self, node_url: str) -> None:
        super().__init__(node_url)
        self._traffic = Traffic()

    def take(self) -> Traffic:
        """Return what went by since the last call."""
        seen, self._traffic = self._traffic, Traffic()
        return seen

    async def pass_on(self, request: web.Request) -> web.Response:
        body, started = await request.read(), time.perf_counter()
        content = await self.ask(body)
        seconds, asked, seen = time.perf_counter() - started, json.loads(body), self._traffic
        calls = len(asked) if isinstance(asked, list) else 1
        self._traffic = Traffic(seen.requests + 1, seen.calls + calls, seen.node_seconds + seconds)
        return web.Response(body=content, content_type="application/json")


OPTIONS: Options = {
    "tokens": (5000, "mints of one"),
    "rounds": (3, "recoveries into an empty database"),
    "rows": (1_000_000, "of the table that is searched for gaps"),
}
_SENDERS = 9  # all accounts of the node but the keeper's
_QUERY_REPEATS = 5
_MISSING_EVERY = 1_000  # one id in so many has no row
_TABLES = (
    "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' "
    # What migrations wrote stays.
    "AND tablename NOT IN ('django_migrations', 'django_content_type', 'auth_permission')"
)
_TIMED = """
import json, timeit
from io import StringIO
from statistics import median
from django.core.management import call_command
from django.db import connection
from tokens.recovery.gaps import missing_ranges
connection.ensure_connection()
print(json.dumps([median(timeit.repeat(work, number=1, repeat={times})) for work in ({works},)]))
"""


def settings(_options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(workers=0)


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Mint, recover into an empty database again and again, and look for gaps among many."""
    seconds = []
    for name in ("web", "alchemy"):
        place.world.services[name].stop()
    place.statements.switch(on=False)
    blocks = _mint(place.world.chain, options.tokens)
    tokens = place.world.chain.next_token_id() - 1
    with RpcProxy(place.world.ports.url("node")) as proxy:
        for _ in range(options.rounds):
            _wipe(place)
            took, first = _recover(place, proxy)
            seconds.append(took)
            rows = place.statements.value("SELECT count(*) FROM tokens_s0")
            if rows != tokens:
                raise RuntimeError(f"{rows} of {tokens} tokens were recovered")
            second_seconds, second = _recover(place, proxy)
    gap_query_ms, scan_ms = _gap_query(place, options.rows)
    return Result(
        {
            "tokens_per_s": (tokens / median(seconds), tokens / first.node_seconds),
            "rpc_calls": first.requests,
            "rpc_batch_members": first.calls,
            "second_run_calls": (second.requests, 1.0),
            "second_run_s": second_seconds,
            "gap_query_ms_at_1m": (gap_query_ms, scan_ms),
        },
        (
            f"{tokens} mints of one token in {blocks} blocks, recover_events on an empty "
            f"database, median of {options.rounds}; floor: the node's own time for these requests",
            "rpc_calls are requests over HTTP, rpc_batch_members the JSON-RPC calls in them",
            f"gap query on {options.rows:,} ids of which one in {_MISSING_EVERY} is missing; "
            "floor: reading all ids",
        ),
    )


def _mint(chain: DemoChain, tokens: int) -> int:
    """Mint one token per transaction, one of each sender per block; return the blocks' number."""
    first = chain.block_number()
    chain.set_block_time(0)
    for start in range(0, tokens, _SENDERS):
        for sender in range(min(_SENDERS, tokens - start)):
            chain.mint(sender, AUTHORS[0].address)
        chain.mine()
    return chain.block_number() - first


def _recover(place: Scene, proxy: RpcProxy) -> tuple[float, Traffic]:
    """Run the command once; return its seconds, and what it asked the node."""
    proxy.take()
    work = "lambda: call_command('recover_events', stdout=StringIO())"
    (took,) = _timed(place, work, RPC_URL=proxy.url)
    return took, proxy.take()


def _timed(place: Scene, *works: str, times: int = 1, **variables: str) -> list[float]:
    """Return the median of the seconds that each of these functions takes inside the program."""
    code = _TIMED.format(works=", ".join(works), times=times)
    printed = place.world.manage("shell", "--verbosity=0", "--command", code, **variables)
    found: list[float] = json.loads(printed)
    return found


def _wipe(place: Scene) -> None:
    tables = place.statements.value(_TABLES)
    place.statements.session.execute(f"TRUNCATE {tables} CASCADE".encode())


def _gap_query(place: Scene, rows: int) -> tuple[float, float]:
    """Time the query for missing ids among many rows, and the reading of all; milliseconds."""
    _wipe(place)
    session, wallet = place.statements.session, AUTHORS[0].address
    session.execute(
        "INSERT INTO authors (wallet_address, prompt_text) VALUES (%s, 'A quiet lighthouse')",
        [wallet],
    )
    session.execute(
        "INSERT INTO tokens_s0 (token_id, author_id, prompt_author_wallet, minter_address, "
        "mint_timestamp, prompt, status, status_changed_at, generation_attempts, fallback_used, "
        "error_class, error_log, attempts, created_at, updated_at) "
        "SELECT id, (SELECT min(id) FROM authors), %s, %s, now(), 'A quiet lighthouse', "
        "'detected', now(), 0, false, '', '[]', 0, now(), now() "
        "FROM generate_series(1, %s) AS id WHERE id %% %s <> 0",
        [wallet, COLLECTORS[0].address, rows, _MISSING_EVERY],
    )
    session.execute("VACUUM (ANALYZE) tokens_s0")
    everything = "lambda: connection.cursor().execute('SELECT count(token_id) FROM tokens_s0')"
    gaps = f"lambda: list(missing_ranges({rows + 1}))"
    took, scan = _timed(place, gaps, everything, times=_QUERY_REPEATS)
    return 1000 * took, 1000 * scan
