"""A world in which tests kill processes, and what they ask of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
import pytest

from glisk.database.embedded_postgres import Layout
from sandbox.accounts import KEEPER
from sandbox.demo.evidence import Evidence, collect, judge
from sandbox.demo.people import CAST, COLLECTOR_INDICES, Minter, PlannedMint, onboard_authors
from sandbox.world import Ports, World, WorldOptions

# Small files and short waits: what is tested is order, not endurance.
FAST = WorldOptions(
    block_time=1.0,
    generation_seconds="0.4",
    pin_seconds="0.1",
    image_size=96,
    distinct_images=6,
    # An explicit embedded database: postmasters of others are not ours to kill.
    env={"DATABASE_URL": "", "LOG_LEVEL": "INFO"},
)


# Far longer than anything takes: it costs time only where a test fails.
PATIENCE_SECONDS = 180.0


def eventually(condition: Callable[[], Any], *, what: str) -> Any:
    """Return the first true value of `condition`; fail when there is none."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_SECONDS:g} s: {what}")
        time.sleep(0.02)


class Arena:
    """A running world with a few more questions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chain = world.chain
        self._minter = Minter(world.chain, [])
        self._session: psycopg.Connection | None = None

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database; while it is down, ask again."""
        for _ in range(600):
            try:
                if self._session is None or self._session.closed:
                    self._session = psycopg.connect(self.world.database_url(), autocommit=True)
                return self._session.execute(sql, parameters).fetchall()
            except psycopg.OperationalError:
                self.close()
                time.sleep(0.1)
        pytest.fail("the database stays down")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def mint(self, quantities: list[int]) -> range:
        """Send these mints at once; return the ids that they will have."""
        first = self.chain.next_token_id()
        wave = [
            PlannedMint(COLLECTOR_INDICES[number % 3], CAST[number % len(CAST)].wallet, quantity)
            for number, quantity in enumerate(quantities)
        ]
        self._minter = Minter(self.chain, [wave])
        self._minter.step(0)
        return range(first, first + sum(quantities))

    def counts(self, tokens: range) -> Counter[str]:
        rows = self.query(
            "SELECT status FROM tokens_s0 WHERE token_id BETWEEN %s AND %s", tokens[0], tokens[-1]
        )
        return Counter(status for (status,) in rows)

    def in_flight(self) -> int:
        sql = "SELECT count(*) FROM reveal_transactions WHERE status = 'broadcast'"
        return int(self.query(sql)[0][0])

    def drain(self, stage: str) -> psutil.Process:
        """Return the worker's child that runs this stage."""
        sql = "SELECT pid FROM worker_heartbeats WHERE stage = %s ORDER BY beat_at DESC LIMIT 1"
        return psutil.Process(self.query(sql, stage)[0][0])

    def postmaster(self) -> psutil.Process:
        found = Layout(Path(self.world.env["EMBEDDED_DATABASE_DIR"])).postmaster()
        assert found is not None
        return found

    def anvil(self) -> psutil.Process:
        children = psutil.Process(self.world.services["node"].pid).children()
        return next(child for child in children if "anvil" in child.name())

    def service(self, name: str) -> psutil.Process:
        return psutil.Process(self.world.services[name].pid)

    def mint_until(self, quantities: list[int], moment: Callable[[range], bool]) -> range:
        """Mint, and return in the middle of it; mint again where the moment was missed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            tokens = self.mint(quantities)
            while self.counts(tokens)["revealed"] < len(tokens):
                if moment(tokens):
                    return tokens
                self._minter.step(0)
                time.sleep(0.02)
        pytest.fail("the moment never came")

    def until_revealed(self, tokens: range) -> None:
        """Wait until the database has every token revealed; say what it has if not."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.counts(tokens)["revealed"] < len(tokens):
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {name}\n{service.log_tail(40)}"
                    for name, service in self.world.services.items()
                    if name.startswith(("worker", "web"))
                )
                pytest.fail(f"after {PATIENCE_SECONDS:g} s: {dict(self.counts(tokens))}\n{logs}")
            self._minter.step(0)  # a wallet sends again what the node forgot
            time.sleep(0.1)

    def node_answers(self) -> bool:
        with suppress(OSError):
            return self.chain.w3.is_connected()
        return False

    def verify(self) -> Evidence:
        """Check every token of this world from outside, as the demo does."""
        eventually(self.node_answers, what="the node")
        evidence = collect(self.world, KEEPER.address)
        faults = [fault for verdict in judge(evidence) for fault in verdict.faults]
        assert faults == []
        return evidence


@contextmanager
def arena() -> Iterator[Arena]:
    """Run a whole world that the test may hurt."""
    # Not below pytest's own folder: every pytest that starts on this machine closes that to
    # other users, and the embedded PostgreSQL of root runs as one.
    with (
        TemporaryDirectory(prefix="glisk-world-", ignore_cleanup_errors=True) as directory,
        World(Path(directory) / "world", ports=Ports.free(), options=FAST) as world,
    ):
        world.start()
        onboard_authors(world)
        world.wait_for_workers()
        with closing(Arena(world)) as made:
            yield made
