"""Schedules are what the code declares."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter  # type: ignore[import-untyped]  # it has no types
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Task

from glisk.engine import schedules
from glisk.engine.heartbeat import dead_supervisors, host_name
from glisk.engine.process import Flag
from glisk.models import WorkerHeartbeat
from glisk.tests.waiting import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_declared", {})


def test_an_interval_becomes_a_cron_expression_with_seconds() -> None:
    for seconds, gap in ((0.1, 1), (5, 5), (30, 30), (60, 60), (300, 300), (3600, 3600)):
        runs = croniter(schedules.cron_of(seconds), datetime(2026, 1, 1, 12, tzinfo=UTC))
        first, second = runs.get_next(datetime), runs.get_next(datetime)
        assert second - first == timedelta(seconds=gap)


def test_the_table_follows_the_declarations() -> None:
    Schedule.objects.create(name="an operator's own", func="a.b")
    schedules.declare("one", "a.one", 5)
    schedules.declare("two", "a.two", 300, at_start=False)
    schedules.write_schedules()
    rows = set(Schedule.objects.values_list("name", "func", "cron", "schedule_type"))
    assert rows == {
        ("an operator's own", "a.b", None, "O"),
        ("glisk:one", "a.one", "* * * * * */5", "C"),
        ("glisk:two", "a.two", "*/5 * * * * 0", "C"),
    }

    soon = timezone.now() + timedelta(seconds=1)
    Schedule.objects.exclude(func="a.b").update(next_run=soon)
    schedules.write_schedules()
    assert Schedule.objects.filter(next_run=soon).count() == 2  # what stays goes on as it does

    schedules.forget_all()
    schedules.declare("one", "a.other", 10)
    schedules.write_schedules()
    rows = set(Schedule.objects.values_list("name", "func", "cron", "schedule_type"))
    assert rows == {
        ("an operator's own", "a.b", None, "O"),
        ("glisk:one", "a.other", "* * * * * */10", "C"),
    }


def test_only_what_runs_at_the_start_is_seeded() -> None:
    schedules.declare("one", "a.one", 5)
    schedules.declare("two", "a.two", 5, at_start=False)
    schedules.seed()
    assert [row.func() for row in OrmQ.objects.all()] == ["a.one"]


@pytest.mark.django_db(transaction=True)
def test_supervisors_that_start_at_once_write_each_schedule_once() -> None:
    schedules.declare("one", "a.one", 5)
    at_once(4, lambda _: schedules.write_schedules())
    assert Schedule.objects.count() == 1


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lease_releases", "rescues", "purges"):
        monkeypatch.setattr(schedules, name, [])


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

    schedules.rescues.extend((fail, lambda: 3))
    assert schedules.rescue() == 3


@pytest.mark.process
def test_dead_supervisors_of_this_host_are_known_by_their_pids() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    _beat(gone.pid)
    _beat(gone.pid, host="elsewhere")
    _beat(os.getppid())
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    assert dead_supervisors() == {gone.pid}  # a zombie is dead
    assert gone.wait() == 0
    assert dead_supervisors() == {gone.pid}


def test_silent_heartbeats_are_pruned() -> None:
    _beat(1, age=timedelta(minutes=1))
    _beat(2, age=timedelta(hours=1))
    schedules.rescue()
    assert [row.main_pid for row in WorkerHeartbeat.objects.all()] == [1]


def test_old_failures_are_purged_and_recent_ones_kept() -> None:
    now = timezone.now()
    for days in (1, 30):
        stopped = now - timedelta(days=days)
        Task.objects.create(
            id=f"{days}", name="n", func="f", started=stopped, stopped=stopped, success=False
        )
    schedules.purges.append(lambda: 4)
    assert schedules.purge() == 5
    assert [failure.id for failure in Failure.objects.all()] == ["1"]


def test_a_stop_flag_is_set_for_good_until_cleared() -> None:
    flag = Flag()
    assert not flag.is_set()
    for _ in range(100_000):  # more than the pipe holds
        flag.set()
    assert flag.is_set()
    assert flag.wait(60)
    flag.clear()
    assert not flag.is_set()
    flag.close()
