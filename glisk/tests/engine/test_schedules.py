"""Schedules are what the code declares."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter  # type: ignore[import-untyped]  # it has no types
from django.db import connections
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from glisk.engine import schedules

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_declared", {})


@pytest.mark.parametrize(
    ("seconds", "gap"), [(1, 1), (5, 5), (30, 30), (60, 60), (300, 300), (7200, 7200)]
)
def test_an_interval_becomes_a_cron_expression_with_seconds(seconds: float, gap: int) -> None:
    runs = croniter(schedules.cron_of(seconds), datetime(2026, 1, 1, 12, tzinfo=UTC))
    first, second = runs.get_next(datetime), runs.get_next(datetime)
    assert second - first == timedelta(seconds=gap)


def test_the_table_follows_the_declarations() -> None:
    Schedule.objects.create(name="an operator's own", func="a.b")
    schedules.declare("one", "a.one", 5)
    schedules.declare("two", "a.two", "0 3 * * * 0", at_start=False)
    schedules.write_schedules()
    rows = set(Schedule.objects.values_list("name", "func", "cron", "schedule_type"))
    assert rows == {
        ("an operator's own", "a.b", None, "O"),
        ("glisk:one", "a.one", "* * * * * */5", "C"),
        ("glisk:two", "a.two", "0 3 * * * 0", "C"),
    }

    schedules.forget_all()
    schedules.declare("one", "a.other", 10)
    schedules.write_schedules()
    rows = set(Schedule.objects.values_list("name", "func", "cron", "schedule_type"))
    assert rows == {
        ("an operator's own", "a.b", None, "O"),
        ("glisk:one", "a.other", "* * * * * */10", "C"),
    }


def test_an_unchanged_schedule_keeps_its_next_run() -> None:
    schedules.declare("one", "a.one", 3600)
    schedules.write_schedules()
    soon = timezone.now() + timedelta(seconds=1)
    Schedule.objects.update(next_run=soon)
    schedules.write_schedules()
    assert schedules.next_due() == soon


def test_only_what_runs_at_the_start_is_seeded() -> None:
    schedules.declare("one", "a.one", 5)
    schedules.declare("two", "a.two", 5, at_start=False)
    schedules.seed()
    assert [row.func() for row in OrmQ.objects.all()] == ["a.one"]


@pytest.mark.django_db(transaction=True)
def test_supervisors_that_start_at_once_write_each_schedule_once() -> None:
    schedules.declare("one", "a.one", 5)
    barrier = threading.Barrier(4)

    def write() -> None:
        try:
            barrier.wait()
            schedules.write_schedules()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Schedule.objects.count() == 1
