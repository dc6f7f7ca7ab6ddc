"""An empty database beside a chain full of mints: how soon is every token there?

The management command is timed inside its own process, without Python's start. What it asks
the node goes through a proxy, which counts, and which answers late in a part of the runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import requests

from benchmarks.report import Report, machine_facts, rounded
from benchmarks.rpc_proxy import RpcProxy, Traffic
from benchmarks.scene import Scene, scene
from sandbox.accounts import ACCOUNTS, AUTHORS, COLLECTORS, KEEPER
from sandbox.chain import DemoChain
from sandbox.world import BASE_DIR, WorldOptions

NAME = "recovery"
DELAY_SECONDS = 0.05
_GAS = 300_000  # of one mint, more than it takes
_QUERY_REPEATS = 5
_MISSING_EVERY = 1_000  # one id in so many has no row
# Not wiped for a run: what migrations wrote.
_KEPT_TABLES = ("django_migrations", "django_content_type", "auth_permission")


@dataclass
class Measured:
    """Seconds per run, and what the first and the second run asked the node."""

    seconds: list[float] = field(default_factory=list)
    late_seconds: list[float] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    second: Traffic = field(default_factory=Traffic)
    second_gaps: Traffic = field(default_factory=Traffic)
    second_seconds: float = 0.0
    insert_seconds: float = 0.0
    query_ms: float = 0.0
    scan_ms: float = 0.0
    blocks: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=5000, help="mints of one (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="recoveries each (default 3)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the gap query's table")


def run(options: argparse.Namespace) -> Report:
    """Mint, recover into an empty database again and again, and look for gaps among many."""
    machine = machine_facts()
    measured = Measured()
    with scene(NAME, WorldOptions()) as place, RpcProxy(place.world.ports.url("node")) as proxy:
        for name in ("worker-1", "web", "alchemy"):
            place.world.services[name].stop()
        _log_nothing(place)
        measured.blocks = _mint(place.world.chain, options.tokens)
        for _ in range(options.rounds):
            measured.insert_seconds = _bare_insert(place, options.tokens)
            proxy.delay_seconds = 0.0
            measured.seconds.append(_recover(place, proxy, options.tokens))
            measured.traffic = proxy.take()
            measured.second_seconds = _command(place, proxy, "recover_events")
            measured.second = proxy.take()
            _command(place, proxy, "recover_tokens")
            measured.second_gaps = proxy.take()
            proxy.delay_seconds = DELAY_SECONDS
            measured.late_seconds.append(_recover(place, proxy, options.tokens))
        _gap_query(place, options.rows, measured)
    return _report(measured, options, machine)


# -- the chain ----------------------------------------------------------------------------


def _mint(chain: DemoChain, tokens: int) -> int:
    """Mint one token per transaction, a few per block; return the number of blocks."""
    first = chain.block_number()
    chain.set_block_time(0)
    facts = {
        "to": chain.contract.address,
        "data": chain.contract.encode_abi("mint", args=[AUTHORS[0].address, 1]),
        "value": hex(chain.mint_price_wei()),
        "gas": hex(_GAS),
    }
    # One each per block: the node works on the members of a batch in any order, and keeps
    # aside what comes with a nonce too early.
    senders = [account.address for account in ACCOUNTS if account != KEEPER]
    for start in range(0, tokens, len(senders)):
        few = senders[: tokens - start]
        _send(chain, [{**facts, "from": sender} for sender in few])
        chain.mine()
    if chain.next_token_id() != tokens + 1:
        raise RuntimeError(f"{chain.next_token_id() - 1} of {tokens} mints were mined")
    return chain.block_number() - first


def _send(chain: DemoChain, transactions: list[dict[str, str]]) -> None:
    answers = requests.post(
        chain.rpc_url,
        json=[
            {"jsonrpc": "2.0", "id": n, "method": "eth_sendTransaction", "params": [transaction]}
            for n, transaction in enumerate(transactions)
        ],
        timeout=60,
    ).json()
    refused = [answer["error"] for answer in answers if "error" in answer]
    if refused:
        raise RuntimeError(f"the node refused {len(refused)} mints: {refused[0]}")


# -- the database -------------------------------------------------------------------------


def _recover(place: Scene, proxy: RpcProxy, tokens: int) -> float:
    """Empty the database and recover; return the seconds. Raises if a token is missing."""
    _wipe(place)
    seconds = _command(place, proxy, "recover_events")
    found = place.statements.session.execute("SELECT count(*), max(token_id) FROM tokens_s0")
    if (rows := found.fetchone()) != (tokens, tokens):
        raise RuntimeError(f"not every token was recovered: {rows} of {tokens}")
    return seconds


def _wipe(place: Scene) -> None:
    session = place.statements.session
    rows = session.execute(
        "SELECT quote_ident(tablename) FROM pg_tables "
        "WHERE schemaname = 'public' AND tablename <> ALL (%s)",
        [list(_KEPT_TABLES)],
    )
    session.execute(f"TRUNCATE {', '.join(row[0] for row in rows)} CASCADE".encode())


def _log_nothing(place: Scene) -> None:
    place.statements.session.execute("ALTER SYSTEM SET log_duration = off")
    place.statements.session.execute("SELECT pg_reload_conf()")


def _command(place: Scene, proxy: RpcProxy, name: str) -> float:
    proxy.take()
    found = _inside(place, name, RPC_URL=proxy.url)
    return float(found["seconds"][0])


def _inside(place: Scene, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a step in a process of its own, with the program's environment."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.recovery_run", *arguments],
        cwd=BASE_DIR,
        env={**place.world.env, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _bare_insert(place: Scene, tokens: int) -> float:
    """Return the seconds in which the database alone takes so many rows, all indexes included."""
    _wipe(place)
    session = place.statements.session
    with session.transaction(force_rollback=True):
        started = time.perf_counter()
        for statement in _generated_rows(tokens):
            session.execute(statement)
        return time.perf_counter() - started


def _generated_rows(rows: int, missing_every: int = 0) -> Iterator[bytes]:
    """Yield statements that make an author and tokens of theirs."""
    wallet = AUTHORS[0].address
    hole = f"WHERE id % {missing_every} <> 0" if missing_every else ""
    yield (
        "INSERT INTO authors (wallet_address, prompt_text, created_at, updated_at) "
        f"VALUES ('{wallet}', 'A quiet lighthouse', now(), now()) ON CONFLICT DO NOTHING"
    ).encode()
    yield (
        "INSERT INTO tokens_s0 (token_id, author_id, prompt_author_wallet, minter_address, "
        "mint_timestamp, prompt, status, status_changed_at, generation_attempts, fallback_used, "
        "error_class, error_log, attempts, created_at, updated_at) "
        f"SELECT id, (SELECT min(id) FROM authors), '{wallet}', '{COLLECTORS[0].address}', "
        "now(), 'A quiet lighthouse', 'detected', now(), 0, false, '', '[]', 0, now(), now() "
        f"FROM generate_series(1, {rows}) AS id {hole}"
    ).encode()


def _gap_query(place: Scene, rows: int, measured: Measured) -> None:
    """Time the query for missing ids among many rows, some of which are missing."""
    _wipe(place)
    session = place.statements.session
    # The query reads the primary key; without the others a million rows are soon there.
    for (name,) in session.execute(
        "SELECT quote_ident(indexrelid::regclass::text) FROM pg_index "
        "WHERE indrelid = 'tokens_s0'::regclass AND NOT indisprimary"
    ).fetchall():
        session.execute(f"DROP INDEX {name}".encode())
    for statement in _generated_rows(rows, _MISSING_EVERY):
        session.execute(statement)
    session.execute("VACUUM (ANALYZE) tokens_s0")
    found = _inside(place, "missing_ids", str(rows + 1), str(_QUERY_REPEATS))
    if found["missing"] != rows // _MISSING_EVERY:
        raise RuntimeError(f"{found['missing']} ids were found missing")
    measured.query_ms = 1000 * median(found["seconds"])
    scans = []
    for _ in range(_QUERY_REPEATS):
        started = time.perf_counter()
        session.execute("SELECT count(*) FROM (SELECT token_id FROM tokens_s0 OFFSET 0) AS ids")
        scans.append(time.perf_counter() - started)
    measured.scan_ms = 1000 * median(scans)


# -- what it means ------------------------------------------------------------------------


def _report(measured: Measured, options: argparse.Namespace, machine: dict[str, Any]) -> Report:
    tokens, traffic, second = options.tokens, measured.traffic, measured.second
    bare = traffic.node_seconds + measured.insert_seconds
    return Report(
        name=NAME,
        figures=rounded(
            {
                "tokens_per_s": tokens / median(measured.seconds),
                "tokens_per_s_at_50ms": tokens / median(measured.late_seconds),
                "rpc_calls": float(traffic.requests),
                "rpc_batch_members": float(traffic.calls),
                "second_run_calls": float(second.requests),
                "second_run_s": measured.second_seconds,
                "second_gap_run_calls": float(measured.second_gaps.requests),
                "gap_query_ms_at_1m": measured.query_ms,
            }
        ),
        floor=rounded(
            {
                "tokens_per_s": tokens / bare,
                "tokens_per_s_at_50ms": tokens / (bare + DELAY_SECONDS * traffic.requests),
                "second_run_calls": 1.0,
                "second_gap_run_calls": 1.0,
                "gap_query_ms_at_1m": measured.scan_ms,
            }
        ),
        machine=machine,
        notes=(
            f"{tokens} mints of one token in {measured.blocks} blocks, recover_events on an "
            f"empty database, median of {options.rounds}; floor: the node's own time for these "
            "requests and one bare insert of the tokens",
            "rpc_calls are requests over HTTP, rpc_batch_members the JSON-RPC calls in them; "
            "second runs: recover_events, then recover_tokens",
            f"gap query on {options.rows:,} ids of which one in {_MISSING_EVERY} is missing; "
            "floor: reading all ids",
        ),
    )
