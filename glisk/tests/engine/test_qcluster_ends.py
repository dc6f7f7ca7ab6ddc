"""Kills and stops: work goes on within seconds, nothing is lost, and nothing is left behind."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from glisk.tests.engine.conftest import (
    QCluster,
    add_jobs,
    claimed,
    done,
    drains,
    is_running,
    query,
)
from glisk.tests.waiting import eventually

Start = Callable[..., QCluster]


def _are_gone(pids: list[int]) -> bool:
    return not any(map(is_running, pids))


def _victim(cluster: QCluster, role: str) -> int:
    tree = cluster.tree()
    busy = [*drains("alpha"), *drains("beta")]
    if role == "busy worker":
        return drains("alpha")[0]
    if role == "idle worker":
        return int(next(pid for pid in tree["workers"] if pid not in busy))
    return int(tree[role])


def test_work_goes_on_after_a_kill_of_each_kind_of_process(qcluster: Start) -> None:
    cluster = qcluster().ready()
    for role in ("sentinel", "monitor", "pusher", "busy worker", "idle worker"):
        tree = cluster.tree()
        old = [tree["sentinel"], tree["monitor"], tree["pusher"], *tree["workers"]]
        add_jobs(4, seconds=60.0)
        add_jobs(4, seconds=60.0, stage="beta")
        eventually(lambda: claimed() == 8, what="claims")
        query("UPDATE engine_jobs SET seconds = 0 RETURNING 1")

        os.kill(_victim(cluster, role), signal.SIGKILL)

        eventually(partial(_are_gone, old), what="the end of the old tree")
        add_jobs(1)
        # The leases of the dead were released: nobody waited for them to run out.
        eventually(lambda: done() == 9, what=f"a new job, and those under way: {role}")
        assert query("SELECT max(claims) FROM engine_jobs") == [(2,)]
        query("DELETE FROM engine_jobs RETURNING 1")
        cluster.ready()
    assert "restart_in_seconds=0.5" in cluster.log  # a tree that keeps dying comes ever later
    before = time.monotonic()
    assert cluster.stop() == 0
    assert time.monotonic() - before < 12  # an idle one stops at once, not after the grace of 15 s
    assert cluster.leftovers() == []
    assert drains() == []


def test_a_killed_supervisor_takes_its_tree_along_and_a_new_one_takes_over(qcluster: Start) -> None:
    first = qcluster().ready()
    add_jobs(4, seconds=60.0)
    eventually(lambda: claimed() == 4, what="claims")
    query("UPDATE engine_jobs SET seconds = 0 RETURNING 1")

    first.signal(signal.SIGKILL)
    first.wait()
    eventually(lambda: first.leftovers() == [], what="the end of the orphans")
    second = qcluster()

    # Long before the lease ends: the dead supervisor's leases are released at the start.
    eventually(lambda: done() == 4, what="the dead supervisor's jobs")
    assert second.stop() == 0
    assert query("SELECT count(*) FROM worker_heartbeats") == [(0,)]


def test_a_stop_finishes_the_calls_under_way(qcluster: Start, tmp_path: Path) -> None:
    cluster = qcluster(TEST_STOP_FILES=str(tmp_path)).ready()
    add_jobs(8, seconds=60.0)
    add_jobs(5, seconds=60.0)  # more than the drain has threads for
    eventually(lambda: claimed() == 8, what="claims")

    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):  # as systemd and Ctrl-C send it
        os.killpg(cluster.pid, number)

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
