"""kill -9 of any process while tokens are under way: nothing is lost, nothing is paid twice.

Real processes, a real database and a real chain; a watchdog restarts what was killed, as an init
system would. Judged from outside: on chain, at the gateway, by the vendor's bill.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from sandbox.tests.killing import Arena, arena, eventually

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(600)]

MINTS = [1, 4, 1, 6]
Moment = Callable[[Arena, range], bool]


@pytest.fixture(scope="module")
def ring() -> Iterator[Arena]:
    """One world for all kills, which is looked at from outside when all of them are over."""
    with arena() as made:
        yield made
        made.verify()


def generating(ring: Arena, tokens: range) -> bool:
    return ring.counts(tokens)["generating"] >= 5


def uploading(ring: Arena, tokens: range) -> bool:
    return ring.counts(tokens)["uploading"] >= 2


def revealing(ring: Arena, tokens: range) -> bool:
    return ring.in_flight() > 0


def services(*names: str) -> Callable[[Arena], list[psutil.Process]]:
    return lambda ring: [ring.service(name) for name in names]


@pytest.mark.parametrize(
    ("victims", "moment"),
    [
        pytest.param(lambda ring: [ring.drain("generation")], generating, id="generation"),
        pytest.param(lambda ring: [ring.drain("upload")], uploading, id="upload"),
        pytest.param(lambda ring: [ring.drain("reveal")], revealing, id="reveal-in-flight"),
        pytest.param(services("worker-1"), generating, id="qcluster-generating"),
        pytest.param(services("worker-1"), revealing, id="qcluster-in-flight"),
        pytest.param(lambda ring: [ring.postmaster()], generating, id="postgres-generating"),
        pytest.param(lambda ring: [ring.postmaster()], revealing, id="postgres-in-flight"),
        pytest.param(services("web", "replicate", "alchemy"), generating, id="vendors-generating"),
        pytest.param(services("pinata", "gateway"), uploading, id="vendors-uploading"),
    ],
)
def test_tokens_are_revealed_once_though_processes_are_killed(
    ring: Arena, victims: Callable[[Arena], list[psutil.Process]], moment: Moment
) -> None:
    tokens = ring.mint_until(MINTS, lambda tokens: moment(ring, tokens))

    killed = victims(ring)
    for process in killed:
        process.kill()

    ring.until_revealed(tokens)
    assert not any(process.is_running() for process in killed)
    ring.world.wait_for_workers()


def test_a_mint_is_not_lost_while_the_web_server_is_down(ring: Arena) -> None:
    """Alchemy sends its webhook again when nobody answers."""
    os.kill(ring.world.services["web"].pid, signal.SIGKILL)
    tokens = ring.mint(MINTS)
    ring.until_revealed(tokens)


def test_a_node_that_forgot_the_reveals_in_its_pool_gets_them_again(ring: Arena) -> None:
    # Without blocks the reveals stay in the pool, which no node keeps over a crash.
    tokens = ring.mint(MINTS)
    eventually(lambda: ring.counts(tokens).total() == len(tokens), what="the mints")
    ring.chain.set_block_time(0)
    eventually(lambda: ring.in_flight() > 0, what="a reveal in the pool")

    ring.anvil().kill()

    ring.until_revealed(tokens)


def test_a_worker_that_is_told_to_stop_in_the_middle_loses_nothing(ring: Arena) -> None:
    worker = ring.service("worker-1")
    tokens = ring.mint_until(MINTS, lambda tokens: generating(ring, tokens))

    worker.terminate()

    eventually(lambda: not worker.is_running(), what="the end of the worker")
    ring.until_revealed(tokens)


def test_two_qclusters_never_work_on_the_same_token(ring: Arena) -> None:
    ring.world.add_worker()
    both = "SELECT count(DISTINCT main_pid) FROM worker_heartbeats WHERE stage = 'generation'"
    eventually(lambda: ring.query(both) == [(2,)], what="a drain of each")
    tokens = ring.mint([1, 10, 9, 10, 10])
    ring.until_revealed(tokens)

    of_these = f"WHERE token_id BETWEEN {tokens[0]} AND {tokens[-1]}"
    workers = f"SELECT count(DISTINCT split_part(actor, ':', 2)) FROM token_transitions {of_these}"
    assert ring.query(workers + " AND to_status = 'generating'") == [(2,)]
    jobs = f"SELECT count(*), count(DISTINCT token_id) FROM image_generation_jobs {of_these}"
    assert ring.query(jobs) == [(len(tokens), len(tokens))]
    uploads = "SELECT count(*), count(DISTINCT (token_id, upload_type)) FROM ipfs_upload_records "
    assert ring.query(uploads + of_these) == [(2 * len(tokens), 2 * len(tokens))]

    # One of the two dies in the middle: the other one goes on, the dead one comes back.
    tokens = ring.mint_until(MINTS, lambda tokens: generating(ring, tokens))
    ring.service("worker-2").kill()
    ring.until_revealed(tokens)
