"""The supervisor's clock."""

from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from glisk.engine.broker import notify
from glisk.tests.engine.conftest import QCluster, drains, eventually

Start = Callable[..., QCluster]


def test_a_schedule_starts_the_drain_that_is_missing(qcluster: Start) -> None:
    cluster = qcluster().ready()
    _rename("engine_jobs", "engine_jobs_away")
    notify("engine_alpha")
    # A fault in turn() ends the drain; its worker lives on, and nobody is asked to succeed it.
    eventually(lambda: drains("alpha") == [], what="the drain's end")
    _rename("engine_jobs_away", "engine_jobs")
    eventually(lambda: drains("alpha"), what="a drain started by the schedule")
    assert cluster.stop() == 0


def _rename(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_an_operators_broken_schedule_holds_up_no_other(qcluster: Start) -> None:
    cluster = qcluster().ready()
    past = timezone.now() - timedelta(minutes=1)
    for args in ("[", "x"):
        Schedule.objects.create(
            name="broken", func="a.b", schedule_type="I", args=args, next_run=past
        )
    Schedule.objects.create(name="cron", func="a.b", next_run=past)
    Schedule.objects.filter(name="cron").update(schedule_type="C", cron="nonsense")
    Schedule.objects.filter(name="glisk:alpha").update(args="[", next_run=past)

    eventually(lambda: Schedule.objects.filter(repeats=0).count() == 3, what="three disabled")
    eventually(
        lambda: Schedule.objects.get(name="glisk:alpha").next_run > past, what="our schedule"
    )
    assert Schedule.objects.get(name="glisk:alpha").args is None
    assert cluster.stop() == 0
