"""kill -9 of any one process while tokens are under way: nothing is lost, nothing is paid twice.

Real processes, a real database and a real chain; a watchdog restarts what was killed, as an init
system would. Judged from outside: on chain, at the gateway, by the vendor's bill.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from sandbox.tests.killing import FAST, Arena, arena, eventually

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(600)]

MINTS = [1, 7, 1, 6, 5]
Moment = Callable[[Arena, range], bool]


@pytest.fixture(scope="module")
def ring() -> Iterator[Arena]:
    """One world for all kills; every test leaves it whole and checks all that came before, too."""
    with arena() as made:
        yield made


def generating(ring: Arena, tokens: range) -> bool:
    return ring.counts(tokens)["generating"] >= 5


def uploading(ring: Arena, tokens: range) -> bool:
    return ring.counts(tokens)["uploading"] >= 2


def revealing(ring: Arena, tokens: range) -> bool:
    return ring.in_flight() > 0


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        pytest.param(lambda ring: ring.drain("generation"), generating, id="generation"),
        pytest.param(lambda ring: ring.drain("upload"), uploading, id="upload"),
        pytest.param(lambda ring: ring.drain("reveal"), revealing, id="reveal-in-flight"),
        pytest.param(lambda ring: ring.service("worker-1"), generating, id="qcluster-generating"),
        pytest.param(lambda ring: ring.service("worker-1"), revealing, id="qcluster-in-flight"),
        pytest.param(lambda ring: ring.service("web"), generating, id="web"),
        pytest.param(lambda ring: ring.postmaster(), generating, id="postgres-generating"),
        pytest.param(lambda ring: ring.postmaster(), revealing, id="postgres-in-flight"),
        pytest.param(lambda ring: ring.service("replicate"), generating, id="replicate"),
        pytest.param(lambda ring: ring.service("pinata"), uploading, id="pinata"),
        pytest.param(lambda ring: ring.service("gateway"), uploading, id="gateway"),
        pytest.param(lambda ring: ring.service("alchemy"), generating, id="alchemy"),
    ],
)
def test_tokens_are_revealed_once_though_a_process_is_killed(
    ring: Arena, victim: Callable[[Arena], psutil.Process], moment: Moment
) -> None:
    tokens = ring.mint_until(MINTS, lambda tokens: moment(ring, tokens))

    killed = victim(ring)
    killed.kill()

    ring.until_revealed(tokens)
    ring.verify()
    assert not killed.is_running()
    ring.world.wait_for_workers()


def test_a_mint_is_not_lost_while_the_web_server_is_down(ring: Arena) -> None:
    """Alchemy sends its webhook again when nobody answers."""
    os.kill(ring.world.services["web"].pid, signal.SIGKILL)
    tokens = ring.mint(MINTS)
    ring.until_revealed(tokens)
    ring.verify()


def test_a_node_that_forgot_the_reveals_in_its_pool_gets_them_again(ring: Arena) -> None:
    # Without blocks the reveals stay in the pool, which no node keeps over a crash.
    tokens = ring.mint(MINTS)
    eventually(lambda: ring.counts(tokens).total() == len(tokens), what="the mints")
    ring.chain.set_block_time(0)
    eventually(lambda: ring.in_flight() > 0, what="a reveal in the pool")

    ring.anvil().kill()

    ring.until_revealed(tokens)
    ring.verify()


def test_a_worker_that_is_told_to_stop_in_the_middle_loses_nothing(ring: Arena) -> None:
    worker = ring.service("worker-1")
    tokens = ring.mint_until(MINTS, lambda tokens: generating(ring, tokens))

    worker.terminate()

    eventually(lambda: not worker.is_running(), what="the end of the worker")
    ring.until_revealed(tokens)
    ring.verify()


def test_two_qclusters_never_work_on_the_same_token() -> None:
    options = replace(FAST, workers=2)
    with arena(options) as ring:
        both = "SELECT count(DISTINCT main_pid) FROM worker_heartbeats WHERE stage = 'generation'"
        eventually(lambda: ring.query(both) == [(2,)], what="a drain of each")
        tokens = ring.mint([1, 10, 9, 10, 10])
        ring.until_revealed(tokens)
        ring.verify()

        workers = "SELECT count(DISTINCT split_part(actor, ':', 2)) FROM token_transitions "
        assert ring.query(workers + "WHERE to_status = 'generating'") == [(2,)]
        jobs = "SELECT count(*), count(DISTINCT token_id) FROM image_generation_jobs"
        assert ring.query(jobs) == [(len(tokens), len(tokens))]
        uploads = (
            "SELECT count(*), count(DISTINCT (token_id, upload_type)) FROM ipfs_upload_records"
        )
        assert ring.query(uploads) == [(2 * len(tokens), 2 * len(tokens))]

        # One of the two dies in the middle: the other one goes on, the dead one comes back.
        tokens = ring.mint_until(MINTS, lambda tokens: generating(ring, tokens))
        ring.service("worker-2").kill()
        ring.until_revealed(tokens)
        ring.verify()
