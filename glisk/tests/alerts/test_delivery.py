"""Messages leave once, each target at its own pace, whatever goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from glisk.console.alerts import delivery as sending
from glisk.console.alerts.delivery import deliver
from glisk.console.alerts.evaluation import note_troubles
from glisk.console.alerts.tasks import purge_alerts, watch_troubles
from glisk.engine import schedules
from glisk.engine.heartbeat import end_alarm, raise_alarm
from glisk.models import Alert, AlertDelivery
from glisk.tests.alerts.conftest import Told, address_of
from glisk.tests.asking import beat
from glisk.tests.clients.scripted_server import ScriptedServer, answer, silence
from glisk.tests.waiting import at_once
from tokens.recovery.progress import Progress, save_progress

State = AlertDelivery.State


@pytest.fixture
def other() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def wrong(name: str = "clock") -> None:
    raise_alarm(name, headline=f"The {name} is wrong")


def make_due() -> None:
    """Let the time pass that is waited after a failure, or for somebody's claim."""
    past = timezone.now() - timedelta(seconds=1)
    AlertDelivery.objects.update(next_attempt_at=past)
    AlertDelivery.objects.exclude(claimed_until=None).update(claimed_until=past)


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_a_target_that_is_down_delays_no_other(
    told: Told, other: ScriptedServer, settings: Settings
) -> None:
    settings.ALERT_URLS = [f"{address_of(other)}?rto=0.2", *settings.ALERT_URLS]
    other.script(silence(), silence())
    wrong("clock")
    began = time.monotonic()
    (first,) = told.now()
    wrong("compass")
    wrong("sextant")
    second, third = told.now()
    assert "clock" in first["title"]
    assert ("compass" in second["title"], "sextant" in third["title"]) == (True, True)
    assert time.monotonic() - began < 5
    waiting = AlertDelivery.objects.filter(state=State.WAITING)
    assert {row.label for row in waiting} == {"ALERT_URLS 1 (json)"}
    tried = waiting.filter(attempts=1).first()
    assert tried is not None
    assert "Connection error" in tried.error
    soonest = min(row.next_attempt_at for row in waiting)
    assert soonest > timezone.now() + timedelta(seconds=5)
    assert len(other.requests) == 2  # a run asks one that is down once, not for each message


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_what_was_refused_is_sent_later_and_says_why_until_then(
    told: Told, receiver: ScriptedServer, other: ScriptedServer, settings: Settings
) -> None:
    settings.ALERT_URLS = [address_of(other)]
    other.script(answer(401), answer(500), answer(200))
    wrong()
    for status in ("401", "500"):
        assert watch_troubles() == 0
        assert status in AlertDelivery.objects.get().error
        assert watch_troubles() == 0  # not due yet
        make_due()
    assert watch_troubles() == 1
    sent = AlertDelivery.objects.get()
    assert (sent.state, sent.attempts, sent.error) == (State.SENT, 3, "")
    assert len({request.body for request in other.requests}) == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_who_was_away_all_the_time_hears_one_message_not_all(
    told: Told, other: ScriptedServer, settings: Settings
) -> None:
    settings.ALERT_URLS = [address_of(other)]
    settings.ALERT_REPEAT_SECONDS = 1
    other.script(*[answer(503)] * 3)
    wrong()
    for _ in range(3):
        watch_troubles()
        make_due()
        Alert.objects.update(told_at=timezone.now() - timedelta(seconds=2))
    end_alarm("clock")
    other.script(answer(200))
    assert watch_troubles() == 1
    assert other.requests[-1].json["title"].startswith("OVER ")
    states = AlertDelivery.objects.order_by("pk").values_list("event", "state")
    assert list(states) == [
        ("begin", State.SUPERSEDED),
        ("repeat", State.SUPERSEDED),
        ("repeat", State.SUPERSEDED),
        ("end", State.SENT),
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_one_message_that_is_refused_does_not_hold_back_the_next(
    told: Told, other: ScriptedServer, settings: Settings
) -> None:
    settings.ALERT_URLS = [address_of(other)]
    other.script(answer(400), answer(200))
    wrong("clock")
    wrong("compass")
    watch_troubles()
    make_due()
    watch_troubles()
    assert AlertDelivery.objects.get(state=State.SENT).alert.name == "compass"


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_after_a_day_a_message_is_given_up(told: Told, settings: Settings) -> None:
    settings.ALERT_URLS = ["json://127.0.0.1:1/"]
    wrong()
    note_troubles()
    AlertDelivery.objects.update(created_at=timezone.now() - timedelta(days=2))
    deliver()
    assert AlertDelivery.objects.get().state == State.GIVEN_UP


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_what_waits_goes_to_the_address_that_stands_in_its_place_now(
    told: Told, other: ScriptedServer, settings: Settings
) -> None:
    """A key was revoked: what waits for the old address is not lost."""
    settings.ALERT_URLS, right = [address_of(other)], settings.ALERT_URLS
    other.script(answer(401))
    wrong()
    assert watch_troubles() == 0
    make_due()
    settings.ALERT_URLS, settings.ALERT_PAGE_URLS = [], right
    assert deliver() == 0  # another worker has that place
    settings.ALERT_URLS = right
    assert deliver() == 1
    assert AlertDelivery.objects.get().state == State.SENT


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_an_end_says_what_is_still_wrong(told: Told) -> None:
    """One cause may hide another one: its end is no all-clear."""
    wrong("clock")
    told.now()
    end_alarm("clock")
    wrong("compass")
    over = next(each["message"] for each in told.now() if each["title"].startswith("OVER"))
    assert "Still wrong: The compass is wrong" in over
    end_alarm("compass")
    (over,) = told.now()
    assert "Nothing else is wrong." in over["message"]


@pytest.mark.django_db
def test_who_does_not_answer_is_given_up_for_now(
    told: Told, other: ScriptedServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_CALL_SECONDS", 0.3)
    settings.ALERT_URLS = [address_of(other)]
    other.script(silence())
    wrong()
    note_troubles()
    assert deliver() == 0
    assert "no answer in 0 s" in AlertDelivery.objects.get(attempts=1).error


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_tell_it_once(told: Told) -> None:
    beat("supervisor", "generation", "upload", "reveal")
    save_progress(Progress(block=1, head=1))
    names = ["clock", "compass", "sextant"]
    for name in names:
        wrong(name)
    assert sum(at_once(4, lambda _: watch_troubles())) == 3
    assert sorted(message["title"].split()[4] for message in told.since()) == names
    for name in names:
        end_alarm(name)
    assert sum(at_once(4, lambda _: watch_troubles())) == 3
    assert {message["title"].split()[0] for message in told.since()} == {"OVER"}


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_a_claim_is_nobody_elses_until_it_runs_out(told: Told) -> None:
    wrong()
    note_troubles()
    later = timezone.now() + timedelta(minutes=1)
    AlertDelivery.objects.update(attempts=1, claimed_until=later)  # its process was killed
    assert told.now() == []
    make_due()
    (again,) = told.now()
    assert "The clock is wrong" in again["title"]


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_who_lost_the_claim_writes_nothing(told: Told) -> None:
    wrong()
    note_troubles()
    (mine,) = sending._claim({target.key: target for target in sending.targets()})
    AlertDelivery.objects.update(attempts=2)  # it ran out, somebody else has it
    assert not sending._settle(mine, "")
    assert AlertDelivery.objects.get().state == State.WAITING


@pytest.mark.django_db
def test_nobody_is_called_by_what_a_vendor_says(told: Told) -> None:
    raise_alarm("prompt", headline="Refused: @everyone look at this")
    assert not [message for message in told.now() if "@everyone" in str(message)]


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_what_ended_long_ago_is_deleted(told: Told) -> None:
    wrong("clock")
    watch_troubles()
    end_alarm("clock")
    wrong("compass")
    watch_troubles()
    Alert.objects.filter(name="clock").update(ended_at=timezone.now() - timedelta(days=91))
    Alert.objects.filter(name="compass").update(began_at=timezone.now() - timedelta(days=91))
    purge_alerts()
    assert Alert.objects.get().name == "compass"
    assert AlertDelivery.objects.get().alert.name == "compass"


@pytest.mark.django_db
@pytest.mark.usefixtures("all_is_well")
def test_many_go_with_their_messages_in_portions(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules.delete_in_portions, "__kwdefaults__", {"at_once": 2})
    for name in ("clock", "compass", "sextant"):
        wrong(name)
    watch_troubles()
    Alert.objects.update(ended_at=timezone.now() - timedelta(days=91))
    assert purge_alerts() == 6  # three, with a message each
    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_where_nothing_is_set_up_nothing_is_asked(
    settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.ALERT_URLS = settings.ALERT_PAGE_URLS = []
    settings.HEARTBEAT_URL = ""
    with django_assert_num_queries(0):
        assert watch_troubles() == 0
