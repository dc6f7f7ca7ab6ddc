"""An empty database beside a chain full of mints: how soon is every token there?

The management command is timed inside its own process, without Python's start. What it asks the
node goes through a proxy, which counts.
"""

from __future__ import annotations

import argparse
import json
from statistics import median

from benchmarks.big_database import TABLES
from benchmarks.report import Options, Result
from benchmarks.rpc_proxy import Request, RpcProxy
from benchmarks.scene import Scene
from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.chain import DemoChain
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "tokens": (5000, "mints of one"),
    "rounds": (3, "recoveries into an empty database"),
    "rows": (1_000_000, "of the table that is searched for gaps"),
}
_SENDERS = 9  # all accounts of the node but the keeper's
_QUERY_REPEATS = 5
_MISSING_EVERY = 1_000  # one id in so many has no row
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
    node_seconds = sum(each.answered_at - each.received_at for each in first)
    gap_query_ms, scan_ms = _gap_query(place, options.rows)
    return Result(
        {
            "tokens_per_s": (tokens / median(seconds), tokens / node_seconds),
            "rpc_calls": len(first),
            "rpc_batch_members": sum(len(each.methods) for each in first),
            "second_run_calls": (len(second), 1.0),
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


def _recover(place: Scene, proxy: RpcProxy) -> tuple[float, list[Request]]:
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
    tables = place.statements.value(TABLES)
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
