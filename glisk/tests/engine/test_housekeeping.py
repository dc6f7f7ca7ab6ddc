"""Leases of the dead, old records, silent processes."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from django_q.models import Failure, Task

from glisk.engine import housekeeping
from glisk.engine.heartbeat import Heartbeat, dead_supervisors, host_name
from glisk.engine.process import StopFlag
from glisk.models import WorkerHeartbeat

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_releases", "_rescues", "_purges"):
        monkeypatch.setattr(housekeeping, name, [])


def _beat(main_pid: int, *, host: str | None = None, age: timedelta = timedelta(0)) -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        owner=f"{host or host_name()}:{main_pid}:1:x",
        host=host or host_name(),
        main_pid=main_pid,
        pid=1,
        stage="s",
        started_at=now - age,
        beat_at=now - age,
    )


def test_one_failing_rescue_keeps_no_other_from_its_work() -> None:
    def fail() -> int:
        raise ValueError("no")

    housekeeping.register_rescue(fail)
    housekeeping.register_rescue(lambda: 3)
    assert housekeeping.rescue() == 3


def test_releases_are_summed_and_registered_once() -> None:
    prefixes: list[str] = []

    def release(prefix: str) -> int:
        prefixes.append(prefix)
        return 2

    housekeeping.register_lease_release(release)
    housekeeping.register_lease_release(release)
    assert housekeeping.release_leases("host:1:") == 2
    assert prefixes == ["host:1:"]


@pytest.mark.process
def test_dead_supervisors_of_this_host_are_known_by_their_pids() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    _beat(gone.pid)
    _beat(gone.pid, host="elsewhere")
    _beat(os.getppid())
    assert gone.wait() == 0
    assert dead_supervisors() == {gone.pid}


@pytest.mark.process
def test_a_zombie_is_dead() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    _beat(gone.pid)
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    assert dead_supervisors() == {gone.pid}
    gone.wait()


def test_silent_heartbeats_are_pruned() -> None:
    _beat(1, age=timedelta(minutes=1))
    _beat(2, age=timedelta(hours=1))
    housekeeping.rescue()
    assert [row.main_pid for row in WorkerHeartbeat.objects.all()] == [1]


def test_a_heartbeat_is_one_row_that_moves() -> None:
    beat = Heartbeat("h:1:2:x", 2, "s")
    with connection.cursor() as cursor:
        beat.write(cursor.execute)
        first = WorkerHeartbeat.objects.get()
        beat.in_flight = 5
        beat.write(cursor.execute)
        row = WorkerHeartbeat.objects.get()
        assert (row.in_flight, row.started_at) == (5, first.started_at)
        beat.remove(cursor.execute)
    assert not WorkerHeartbeat.objects.exists()


def test_old_failures_are_purged_and_recent_ones_kept() -> None:
    now = timezone.now()
    for days in (1, 30):
        stopped = now - timedelta(days=days)
        Task.objects.create(
            id=f"{days}", name="n", func="f", started=stopped, stopped=stopped, success=False
        )
    housekeeping.register_purge(lambda: 4)
    assert housekeeping.purge() == 5
    assert [failure.id for failure in Failure.objects.all()] == ["1"]


@pytest.mark.parametrize("arguments", [["--run-once"], ["--name", "other"]])
def test_options_that_make_no_sense_here_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="not supported"):
        call_command("qcluster", *arguments)


def test_a_stop_flag_is_set_for_good_until_cleared() -> None:
    flag = StopFlag()
    assert not flag.is_set()
    for _ in range(100_000):  # more than the pipe holds
        flag.set()
    assert flag.is_set()
    assert flag.wait(60)
    flag.clear()
    assert not flag.is_set()
    flag.close()
