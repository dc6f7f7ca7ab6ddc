"""Stopping: calls under way are finished and saved, nothing is lost, the exit code is 0."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from glisk.tests.engine.conftest import QCluster, add_jobs, claimed, done, eventually, query

Start = Callable[..., QCluster]


def _once(cluster: QCluster) -> None:
    cluster.signal()


def _twice(cluster: QCluster) -> None:
    cluster.signal()
    cluster.signal()


def _to_the_group(cluster: QCluster) -> None:
    os.killpg(cluster.pid, signal.SIGTERM)
    os.killpg(cluster.pid, signal.SIGTERM)


def _by_ctrl_c(cluster: QCluster) -> None:
    os.killpg(cluster.pid, signal.SIGINT)


@pytest.mark.parametrize("stop", [_once, _twice, _to_the_group, _by_ctrl_c])
def test_calls_under_way_are_finished(
    qcluster: Start, tmp_path: Path, stop: Callable[[QCluster], None]
) -> None:
    cluster = qcluster(TEST_STOP_FILES=str(tmp_path)).ready()
    add_jobs(8, seconds=60.0)
    add_jobs(5, seconds=60.0)  # more than the drain has threads for
    eventually(lambda: claimed() == 8, what="claims")

    stop(cluster)

    assert cluster.wait() == 0
    # What was under way is saved; what was not, is free for the next process.
    assert query("SELECT count(*), sum(calls) FROM engine_jobs WHERE done_at IS NOT NULL") == [
        (8, 8)
    ]
    assert query("SELECT count(*) FROM engine_jobs WHERE done_at IS NULL AND owner IS NULL") == [
        (5,)
    ]
    assert query("SELECT count(*) FROM worker_heartbeats") == [(0,)]
    assert cluster.leftovers() == []


def test_an_idle_cluster_stops_at_once(qcluster: Start) -> None:
    cluster = qcluster().ready()
    before = time.monotonic()
    assert cluster.stop() == 0
    assert time.monotonic() - before < 12  # not the grace of 15 s
    assert cluster.leftovers() == []


def test_a_call_that_outlasts_the_grace_is_killed_and_its_lease_released(qcluster: Start) -> None:
    cluster = qcluster(TEST_SHUTDOWN_GRACE_SECONDS="1").ready()
    add_jobs(1, seconds=60.0)
    eventually(lambda: claimed() == 1, what="a claim")

    before = time.monotonic()
    assert cluster.stop() == 0

    assert 1 <= time.monotonic() - before < 30  # not the minute of the call
    assert query("SELECT count(*) FROM engine_jobs WHERE owner IS NULL") == [(1,)]
    assert cluster.leftovers() == []


def test_a_kill_during_the_stop_does_not_hang_it(qcluster: Start) -> None:
    cluster = qcluster().ready()
    add_jobs(1, seconds=60.0)
    eventually(lambda: claimed() == 1, what="a claim")
    monitor = cluster.tree()["monitor"]

    before = time.monotonic()
    cluster.signal()
    os.kill(monitor, signal.SIGKILL)

    assert cluster.wait() == 0
    assert time.monotonic() - before < 12  # not the grace of 15 s
    assert cluster.leftovers() == []


def test_a_stop_during_the_start_is_heeded(qcluster: Start) -> None:
    cluster = qcluster()
    eventually(lambda: "supervisor_started" in cluster.log or _handles_sigterm(cluster.pid))
    assert cluster.stop() == 0
    assert cluster.leftovers() == []
    assert done() == 0


def _handles_sigterm(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & (1 << (signal.SIGTERM - 1)))
