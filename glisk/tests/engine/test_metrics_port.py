"""A machine without a web server tells what its workers count, whatever of it was killed."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from glisk.tests.engine.conftest import QCluster, add_jobs, children, done, drains, is_running
from glisk.tests.waiting import eventually
from sandbox.node import free_port

TOKEN = "a token of twenty letters"


def calls(port: int) -> float:
    """Return how many calls of steps are told of; none while nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError:
        raise
    except OSError:
        return -1
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "glisk_step_call_seconds_count"
    )


def kill_with_its_drains(cluster: QCluster) -> None:
    pids = drains()
    os.kill(cluster.pid, signal.SIGKILL)
    cluster.wait()
    eventually(lambda: not any(map(is_running, pids)), what="the end of its drains")


def test_clusters_count_together_and_no_count_is_lost_by_a_kill(
    qcluster: Callable[..., QCluster], tmp_path: Path
) -> None:
    port, directory = free_port(), tmp_path / "metrics"
    given = {"METRICS_DIR": str(directory), "METRICS_TOKEN": TOKEN, "METRICS_NETWORKS": "10.0.0.1"}
    first = qcluster(**given, METRICS_PORT=str(port))
    eventually(drains, what="the drains of the first one")
    second = qcluster(**given)
    add_jobs(40)
    eventually(lambda: done() == 40, what="the jobs")
    eventually(lambda: calls(port) == 40, what="the count of the first one")

    # Nothing is under way: no count may be lost or repeated.
    kill_with_its_drains(first)
    add_jobs(40)
    eventually(lambda: done() == 80, what="the jobs that the second one does")
    kill_with_its_drains(second)
    third = qcluster(**given, METRICS_PORT=str(port))
    add_jobs(40)
    eventually(lambda: done() == 120, what="more jobs")
    eventually(lambda: calls(port) == 120, what="the count of all three")
    assert len(list(directory.glob("histogram_*.db"))) <= 4  # of drains at one time

    (server,) = (pid for pid in children(third.pid) if _listens(pid, port))
    os.kill(server, signal.SIGKILL)
    eventually(lambda: calls(port) == 120, what="the server that came back")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert third.stop() == 0
    assert calls(port) == -1


def _listens(pid: int, port: int) -> bool:
    return any(c.laddr.port == port for c in psutil.Process(pid).net_connections())
