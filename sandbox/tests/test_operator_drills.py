"""What an operator does with a whole world: restores an older state of it, then proves it works.

One world for both, since its start takes longer than either.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql

from glisk.database.embedded_postgres import programs
from glisk.engine.heartbeat import ALIVE_SECONDS
from sandbox.accounts import COLLECTORS, KEEPER
from sandbox.demo.evidence import collect, judge
from sandbox.demo.people import CAST, COLLECTOR_INDICES, onboard_authors
from sandbox.ports import Ports
from sandbox.world import World, WorldOptions

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(600)]

# The images of the last mint are still made when the machine is lost.
OPTIONS = WorldOptions(
    block_time=0.5,
    generation_seconds="1.5",
    pin_seconds="0.1",
    image_size=96,
    env={"DATABASE_URL": "", "WORKER_BATCH_SIZE": "4"},
)
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Not below pytest's own folder: see sandbox/tests/test_kills.py.
    with (
        TemporaryDirectory(prefix="glisk-restore-", ignore_cleanup_errors=True) as directory,
        World(Path(directory) / "world", ports=Ports.free(), options=OPTIONS) as world,
    ):
        world.start()
        onboard_authors(world)
        world.wait_for_workers()
        yield world


def counts(world: World) -> Counter[str]:
    with psycopg.connect(world.database_url(), autocommit=True) as session:
        return Counter(row[0] for row in session.execute("SELECT status FROM tokens_s0"))


def until(world: World, what: str, **wanted: int) -> None:
    """Wait until the database has at least so many tokens in these states."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(counts(world)[status] < number for status, number in wanted.items()):
        assert time.monotonic() < deadline, f"{what}: {dict(counts(world))}"
        time.sleep(0.05)


def mint(world: World, quantity: int, author: int) -> None:
    world.chain.wait(world.chain.mint(COLLECTOR_INDICES[0], CAST[author].wallet, quantity))


def paid(world: World) -> int:
    return len(world.control("replicate", "bill")["entries"])


def run(world: World, program: str, *arguments: str) -> None:
    url = world.database_url()
    done = subprocess.run(
        [programs() / program, *arguments, "--dbname", url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def destroy(world: World) -> None:
    """Lose the program's processes, without a word, and its database."""
    for name in [name for name in world.services if name.startswith(("web", "worker"))]:
        world.services.pop(name).kill()
    with psycopg.connect(world.database_url(), autocommit=True) as session:
        (name,) = session.execute("SELECT current_database()").fetchone() or ("",)
    base = world.database_url().replace(f"/{name}", "/postgres", 1)
    with psycopg.connect(base, autocommit=True) as session:
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def test_an_older_state_is_restored_and_nothing_happens_twice(world: World, tmp_path: Path) -> None:
    mint(world, 3, author=0)
    until(world, "the first reveals", revealed=3)
    mint(world, 6, author=1)
    until(world, "some on their way, some that wait for company", generating=1, ready=2)
    taken_at, file = datetime.now(UTC), str(tmp_path / "backup")
    run(world, "pg_dump", "--format", "custom", "--file", file)
    # What the backup does not know: reveals, mints, and images that are paid for and not revealed.
    until(world, "reveals after the backup", revealed=9)
    mint(world, 2, author=2)
    until(world, "mints after the backup", revealed=11)
    mint(world, 3, author=0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while paid(world) < 14:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    destroy(world)
    unrevealed = 14 - sum(len(reveal.token_ids) for reveal in world.chain.reveal_transactions())
    assert unrevealed > 0
    run(world, "pg_restore", "--no-owner", file)
    older = counts(world)
    assert older.total() == 9
    assert 3 <= older["revealed"] < 9
    # The workers of the backup are taken for dead when they were silent for so long.
    time.sleep(max(0.0, ALIVE_SECONDS + 1 - (datetime.now(UTC) - taken_at).total_seconds()))
    page = world.manage(
        "recover_after_restore", "--since", taken_at.isoformat(), KEEPER_ADDRESS=KEEPER.address
    )
    assert "All agrees: start web and workers." in page
    assert f"tokens that get the image that is paid for: {unrevealed}." in page, page
    world.start_apps()
    until(world, "the rest", revealed=14)
    assert paid(world) == 14
    faults = [f for verdict in judge(collect(world, KEEPER.address)) for f in verdict.faults]
    # Of what was revealed since the backup, the picture's CID stands in the metadata alone.
    assert [fault for fault in faults if "image_cid is None" not in fault] == []


def test_a_canary_goes_the_whole_way(world: World, tmp_path: Path) -> None:
    key, token_id = tmp_path / "payer.key", world.chain.next_token_id()
    key.write_text(COLLECTORS[0].private_key)
    world.wait_for_workers()
    send = ["--send", "--account-key-file", str(key), "--timeout", "120"]
    page = world.manage("canary", "--yes", *send, KEEPER_ADDRESS=KEEPER.address)
    assert "All is well: a mint can come." in page
    assert f"#{token_id} by 0x" in page
    reveal = world.chain.reveal_transactions()[-1]
    assert reveal.token_ids == (token_id,)
    assert reveal.tx_hash in page
    assert world.chain.token_uri(token_id) in page
    assert COLLECTORS[0].private_key.removeprefix("0x") not in page
