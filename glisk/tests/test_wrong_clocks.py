"""A machine whose clock is wrong tells the same as all others: ages are the database's."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from glisk import clock
from glisk.clock import database_now
from glisk.console.overview import take_overview
from glisk.engine.heartbeat import machine_skew, prune_heartbeats, raise_alarm, stages_alive
from glisk.models import WorkerHeartbeat
from glisk.tests.alarms import alarms

pytestmark = pytest.mark.django_db


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    def set_to(ahead: float) -> None:
        real_now, real_time = timezone.now, time.time
        monkeypatch.setattr(timezone, "now", lambda: real_now() + timedelta(seconds=ahead))
        monkeypatch.setattr(clock.time, "time", lambda: real_time() + ahead)

    return set_to


@pytest.mark.parametrize("ahead", [301.0, -7200.0])
def test_workers_live_and_alarms_last_as_long_as_they_should(
    set_clock: Callable[[float], None], ahead: float
) -> None:
    WorkerHeartbeat.objects.create(
        owner="a", host="a", main_pid=1, pid=2, stage="generation", started_at=Now(), beat_at=Now()
    )
    set_clock(ahead)
    assert machine_skew().ahead_seconds == pytest.approx(ahead, abs=5)
    assert not machine_skew().is_tolerable
    assert abs((timezone.now() - database_now()).total_seconds() - ahead) < 5
    assert [worker.alive for worker in take_overview().workers] == [True]
    (worker,) = Client().get("/health/workers").json()["workers"]
    assert 0 <= worker["beat_age_seconds"] < 60
    assert stages_alive() == {"generation"}
    assert prune_heartbeats() == 0
    raise_alarm("listing", headline="It is refused")
    assert [alarm.name for alarm in alarms()] == ["listing"]
    WorkerHeartbeat.objects.update(beat_at=Now() - timedelta(minutes=11))
    assert [worker.alive for worker in take_overview().workers] == [False]
    assert prune_heartbeats() == 1
