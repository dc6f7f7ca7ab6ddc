"""kill -9 of every kind of process: work goes on within seconds, and nothing is left behind."""

import os
import signal
from collections.abc import Callable
from functools import partial

import pytest

from glisk.tests.engine.conftest import (
    QCluster,
    add_jobs,
    claimed,
    done,
    drains,
    eventually,
    is_running,
    query,
)

Start = Callable[..., QCluster]


def _is_gone(pid: int) -> bool:
    return not is_running(pid)


def _victim(cluster: QCluster, role: str) -> int:
    tree = cluster.tree()
    busy = [*drains("alpha"), *drains("beta")]
    if role == "busy worker":
        return drains("alpha")[0]
    if role == "idle worker":
        return int(next(pid for pid in tree["workers"] if pid not in busy))
    return int(tree[role])


@pytest.mark.parametrize("role", ["sentinel", "monitor", "pusher", "busy worker", "idle worker"])
def test_work_goes_on_after_a_kill(qcluster: Start, role: str) -> None:
    cluster = qcluster().ready()
    tree = cluster.tree()
    old = [tree["sentinel"], tree["monitor"], tree["pusher"], *tree["workers"]]
    add_jobs(4, seconds=60.0)
    add_jobs(4, seconds=60.0, stage="beta")
    eventually(lambda: claimed() == 8, what="claims")
    query("UPDATE engine_jobs SET seconds = 0 RETURNING 1")

    os.kill(_victim(cluster, role), signal.SIGKILL)

    eventually(lambda: not any(map(is_running, old)), what="the end of the old tree")
    add_jobs(1)
    # The leases of the dead were released: nobody waited for them to run out.
    eventually(lambda: done() == 9, what="a new job, and the jobs that were under way")
    assert query("SELECT max(claims) FROM engine_jobs") == [(2,)]
    assert cluster.stop() == 0
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


def test_a_tree_that_keeps_dying_is_restarted_ever_later(qcluster: Start) -> None:
    cluster = qcluster().ready()
    for _ in range(2):
        sentinel = cluster.tree()["sentinel"]
        os.kill(sentinel, signal.SIGKILL)
        eventually(partial(_is_gone, sentinel), what="the sentinel's end")
    eventually(lambda: "restart_in_seconds=0.5" in cluster.log, what="a backoff")
    add_jobs(1)
    eventually(lambda: done() == 1, what="a job after two kills")
    assert cluster.stop() == 0
