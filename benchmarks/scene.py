"""A whole world for one measurement, started and ended with it, and what is done in it.

Block timestamps are whole seconds, so they cannot time a reveal. The node announces new heads
and pending transactions over its websocket; the moment of arrival is what a client sees.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

from benchmarks.instruments import StatementCount, StatementLog, Usage, pss_mb, tree_of, usage
from sandbox.accounts import ACCOUNTS, AUTHORS, COLLECTORS
from sandbox.chain import Reveal
from sandbox.rpc import Header, HeadFollower
from sandbox.world import BASE_DIR, Ports, World, WorldOptions


class ChainWatch:
    """Records Unix times by block number and by transaction hash while it is open."""

    def __init__(self, rpc_url: str) -> None:
        self.blocks: dict[int, float] = {}
        self.pending: dict[str, float] = {}
        self._changed = threading.Condition()
        self._follower = HeadFollower(rpc_url, self._note_block, self._note_pending)

    def __enter__(self) -> Self:
        self._follower.start()
        self._follower.is_following.wait(10)
        return self

    def __exit__(self, *_error: object) -> None:
        self._follower.stop()

    def _note_block(self, header: Header) -> None:
        with self._changed:
            self.blocks.setdefault(int(header["number"], 16), time.time())
            self._changed.notify_all()

    def _note_pending(self, tx_hash: str) -> None:
        self.pending.setdefault(tx_hash, time.time())

    def wait_for_block(self, after: int, timeout_seconds: float = 30.0) -> int:
        """Return the newest block's number once it is higher than `after`.

        Raises `TimeoutError`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.newest > after, timeout_seconds):
                raise TimeoutError(f"no block after {after} within {timeout_seconds:g} s")
            return self.newest

    @property
    def newest(self) -> int:
        return max(self.blocks, default=-1)


# The parts of a world whose cost is told apart, by the kinds of their services.
PARTS = {
    "web": ("web",),
    "worker": ("worker",),
    "postgres": ("postgres",),
    "emulators": ("replicate", "pinata", "gateway", "alchemy"),
    "node": ("node",),
}
# What the database has read and written since its start: rows of tables, bytes of its log.
_ROWS_READ = """
    SELECT jsonb_object_agg(relname, seq_tup_read + coalesce(idx_tup_fetch, 0))
    FROM pg_stat_user_tables
"""
WAL_BYTES = "SELECT pg_current_wal_insert_lsn() - '0/0'"
_STATISTICS_SECONDS = 1.5  # until PostgreSQL's processes have told what they read
_LEAST_LOGGING = {"LOG_LEVEL": "WARNING"}
_DRAIN_RUNS = (
    "SELECT count(*) > 0 FROM worker_heartbeats "
    "WHERE stage LIKE '{stage}' AND stage <> 'supervisor'"
)


@dataclass
class Cost:
    """What a piece of work took; `usage` by part of the world."""

    seconds: float = 0.0
    usage: dict[str, Usage] = field(default_factory=dict)
    statements: StatementCount = field(default_factory=StatementCount)
    rows_read: Counter[str] = field(default_factory=Counter)  # by table
    wal_bytes: int = 0

    def cpu_ms(self, *parts: str, per: float = 1) -> float:
        return sum(1000 * self.usage[part].cpu_seconds for part in parts) / per


@dataclass
class Scene:
    """A running world and the instruments that look at it."""

    world: World
    watch: ChainWatch
    statements: StatementLog

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Fill in what the work inside takes."""
        found, value = Cost(), self.statements.value
        rows, wal = value(_ROWS_READ), value(WAL_BYTES)
        self.statements.mark()
        started, before = time.monotonic(), self._usage()
        yield found
        found.seconds, after = time.monotonic() - started, self._usage()
        found.usage = {part: after[part] - before[part] for part in PARTS}
        found.statements = self.statements.since_mark()
        found.wal_bytes = value(WAL_BYTES) - wal
        time.sleep(_STATISTICS_SECONDS)
        found.rows_read = Counter(value(_ROWS_READ)) - Counter(rows)

    def _usage(self) -> dict[str, Usage]:
        return {part: usage(self.pids(*kinds)) for part, kinds in PARTS.items()}

    def pss_mb(self, *kinds: str) -> float:
        return pss_mb(tree_of(self.pids(*kinds)))

    def pids(self, *kinds: str) -> list[int]:
        """Return the first process of each service: web, worker, node, …, or postgres."""
        services = self.world.services.items()
        found = [service.pid for name, service in services if name.split("-")[0] in kinds]
        return [*found, self.statements.server_pid] if "postgres" in kinds else found

    def stop_workers(self) -> None:
        for name, service in self.world.services.items():
            if name.startswith("worker-"):
                service.stop()

    def calls(self, vendor: str, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """Return a vendor's call log, of one method and with this text in the path."""
        found: list[dict[str, Any]] = self.world.control(vendor, "calls")["calls"]
        return [call for call in found if method in call["method"] and path in call["path"]]

    def send_mints(self, tokens: int, *, together: int = 10) -> set[int]:
        """Fill the pool while no block is mined, the collectors taking turns; return the ids."""
        chain = self.world.chain
        first = chain.next_token_id()
        chain.set_block_time(0)
        for number, start in enumerate(range(0, tokens, together)):
            collector = COLLECTORS[number % len(COLLECTORS)]
            quantity = min(together, tokens - start)
            chain.mint(ACCOUNTS.index(collector), AUTHORS[0].address, quantity)
        return set(range(first, first + tokens))

    def mine(self, *, block_seconds: int) -> int:
        """Mine what was sent in one block, and let the chain go on; return its number."""
        newest = self.watch.newest
        self.world.chain.mine()
        self.world.chain.set_block_time(block_seconds)
        return self.watch.wait_for_block(after=newest)

    def wait_for_drain(self, stage: str = "%") -> None:
        """Return once a worker has a drain of the stage, or of any."""
        self.statements.wait_for(_DRAIN_RUNS.format(stage=stage), timeout_seconds=60)

    def wait_for_state(self, state: str, ids: set[int], timeout_seconds: float = 300.0) -> None:
        """Return once the database has all of these tokens in a state. Raises `TimeoutError`."""
        self.statements.wait_for(
            f"SELECT count(*) = {len(ids)} FROM tokens_s0 WHERE status = '{state}' "
            f"AND token_id BETWEEN {min(ids)} AND {max(ids)}",
            timeout_seconds,
        )

    def wait_for_reveals(
        self, ids: set[int], *, after: int, timeout_seconds: float = 300.0
    ) -> list[Reveal]:
        """Look at each block after this one once, until all are revealed. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout_seconds
        found: dict[str, Reveal] = {}
        seen = after
        while time.monotonic() < deadline:
            newest = self.watch.wait_for_block(after=seen)
            for reveal in self.world.chain.reveal_transactions(from_block=seen + 1):
                if reveal.block_number <= newest:  # a later one is looked at with its block
                    found[reveal.tx_hash] = reveal
            seen = newest
            if {token_id for reveal in found.values() for token_id in reveal.token_ids} >= ids:
                return list(found.values())
        raise TimeoutError(f"not all tokens were revealed within {timeout_seconds:g} s")


@contextmanager
def scene(name: str, options: WorldOptions) -> Iterator[Scene]:
    """Start everything; it is there when the worker, if there is one, has begun to work."""
    with bare_world(name, options) as world, ExitStack() as stack:
        world.start_vendors()
        statements = StatementLog(world.directory / "postgres")
        stack.callback(statements.close)
        world.start_apps()
        watch = stack.enter_context(ChainWatch(world.ports.url("node")))
        place = Scene(world, watch, statements)
        if any(name.startswith("ENABLE_") for name in options.env) and options.workers:
            place.wait_for_drain()
        elif options.workers:
            world.wait_for_workers()
        yield place


@contextmanager
def bare_world(name: str, options: WorldOptions | None = None) -> Iterator[World]:
    """Yield a world of which nothing runs yet, on free ports; leave nothing behind.

    To be used from the main thread: SIGTERM ends it in order, as Ctrl-C does. The ends of the
    logs are shown if it fails.
    """
    parent = BASE_DIR / "var" / "benchmarks"
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    options = options or WorldOptions(workers=0)
    options = replace(options, env=_LEAST_LOGGING | options.env)
    world = World(directory, ports=Ports.free(), options=options)
    with _one_signal_ends():
        try:
            yield world
        except Exception:
            for service in world.services.values():
                print(f"--- {service.name}\n{service.log_tail()}", file=sys.stderr)
            raise
        finally:
            world.stop()
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _one_signal_ends() -> Iterator[None]:
    """Unwind at the first SIGINT or SIGTERM; further ones cannot cut the clean-up short."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
