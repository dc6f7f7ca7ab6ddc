"""What comes and goes, or lasts, is told as often as somebody can bear."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from pytest_django import Settings

from glisk.console.alerts import evaluation
from glisk.console.alerts.evaluation import note_troubles
from glisk.console.overview.causes import PAGE, WARN, Trouble
from glisk.models import Alert, AlertDelivery

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 30, 3, tzinfo=UTC)


class World:
    """The troubles as the test has them, looked at by a clock of its own."""

    def __init__(self) -> None:
        self.now = START
        self.troubles: list[Trouble] = []
        self.level = ""  # that of the kind

    def run(self, seconds: float, *troubles: str, every: float = 20) -> list[str]:
        """Have these breakers open for so long; return what was written meanwhile, in order."""
        level = self.level
        self.troubles = [Trouble("breaker", n, f"{n} is down", level=level) for n in troubles]
        before = set(AlertDelivery.objects.values_list("pk", flat=True))
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            note_troubles()
            self.now += timedelta(seconds=every)
        new = AlertDelivery.objects.exclude(pk__in=before).order_by("pk")
        return [f"{delivery.event} {delivery.alert.name}" for delivery in new]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> World:
    settings.ALERT_URLS = ["json://127.0.0.1:9/"]
    settings.ALERT_AFTER_SECONDS, settings.ALERT_REPEAT_SECONDS = 60, 3600
    world = World()
    monkeypatch.setattr(evaluation, "database_now", lambda: world.now)
    monkeypatch.setattr(evaluation, "read_troubles", lambda: world.troubles)
    return world


def test_what_is_over_at_once_is_not_told(world: World) -> None:
    assert world.run(60, "pinata") == []
    assert world.run(600) == []
    assert not Alert.objects.exists()


def test_what_lasts_is_told_once_and_again_after_its_time(world: World) -> None:
    assert world.run(80, "pinata") == ["begin pinata"]
    assert world.run(3560, "pinata", every=890) == []
    assert world.run(60, "pinata") == ["repeat pinata"]
    assert world.run(3620, "pinata", every=1200) == ["repeat pinata"]
    assert world.run(60) == []  # it may come back
    assert world.run(20) == ["end pinata"]
    ended = AlertDelivery.objects.latest("pk")
    assert "It began 30 Nov 03:00 UTC and lasted 2 h" in ended.body


def test_a_short_pause_of_a_trouble_is_no_end(world: World) -> None:
    assert world.run(80, "pinata") == ["begin pinata"]
    for _ in range(2):
        assert world.run(40) == []
        assert world.run(60, "pinata", every=60) == []


def test_a_cause_that_comes_back_again_and_again_is_told_ever_more_rarely(world: World) -> None:
    for _ in range(14):  # of five minutes: half of it well, half of it not
        world.run(160, "pinata", every=80)
        world.run(140, every=70)
    begun = AlertDelivery.objects.filter(event="begin").order_by("pk")
    times = [delivery.created_at for delivery in begun]
    apart = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert len(apart) == 3
    assert apart == sorted(set(apart))
    ended = AlertDelivery.objects.filter(event="end").values("alert")
    assert set(ended.values_list("alert")) <= set(begun.values_list("alert"))


def test_other_causes_do_not_wait_for_one_that_flaps(world: World) -> None:
    for _ in range(6):
        world.run(80, "pinata")
        world.run(80)
    assert world.run(80, "pinata", "replicate") == ["begin replicate"]


def test_what_lasted_for_days_without_a_repeat_may_come_back_at_once_too(
    world: World, settings: Settings
) -> None:
    settings.ALERT_REPEAT_SECONDS = 0
    assert world.run(48 * 3600, "pinata", every=7200) == ["begin pinata"]
    assert world.run(100) == ["end pinata"]
    assert world.run(240, "pinata", every=60) == []


def test_a_calm_day_later_it_is_new(world: World) -> None:
    world.run(80, "pinata")
    assert world.run(100) == ["end pinata"]
    assert world.run(24 * 3600, every=7200) == []
    assert world.run(80, "pinata") == ["begin pinata"]


def test_what_gets_worse_wakes_somebody_who_hears_the_end_too(
    world: World, settings: Settings
) -> None:
    settings.ALERT_PAGE_URLS = ["json://127.0.0.1:9/pager"]
    world.level = WARN
    assert world.run(80, "pinata") == ["begin pinata"]
    world.level = PAGE
    assert world.run(40, "pinata") == ["begin pinata"] * 2  # both targets
    world.level = WARN
    assert world.run(40, "pinata") == []
    assert world.run(100) == ["end pinata"] * 2
