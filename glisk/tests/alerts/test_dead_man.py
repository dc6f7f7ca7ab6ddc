"""Somebody outside is told that we live, for the case that we do not."""

from __future__ import annotations

import io
import socket
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from pytest_django import Settings

from glisk.breaker import Breaker
from glisk.console.alerts import evaluation, tasks
from glisk.console.management.commands.send_test_alert import NOT_HEARD
from glisk.engine.heartbeat import raise_alarm
from glisk.engine.schedules import declared
from glisk.errors import AccountError
from glisk.models import SystemState
from glisk.pauses import pause_stage
from glisk.tests.alerts.conftest import Told, address_of
from glisk.tests.clients.scripted_server import ScriptedServer, answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("all_is_well")]


@pytest.fixture
def outside(receiver: ScriptedServer, settings: Settings) -> ScriptedServer:
    settings.HEARTBEAT_URL = f"{receiver.url}/ping/made-up?x=1"
    settings.ALERT_AFTER_SECONDS = 0
    return receiver


def pinged(outside: ScriptedServer) -> tuple[str, str]:
    tasks.watch_troubles()
    return outside.requests[-1].method, outside.requests[-1].target


def test_it_hears_that_all_is_well_and_what_needs_a_person(outside: ScriptedServer) -> None:
    assert pinged(outside) == ("GET", "/ping/made-up?x=1")
    raise_alarm("clock", headline="The clock is wrong")
    pause_stage("upload", actor="operator ada", reason="the moon is full")
    assert pinged(outside)[0] == "GET"  # these can wait
    Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401))
    assert pinged(outside) == ("POST", "/ping/made-up/fail?x=1")
    assert b"Pinata" in outside.requests[-1].body
    SystemState.objects.filter(pk="breaker:pinata").delete()
    assert pinged(outside)[0] == "GET"
    Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401))
    assert pinged(outside)[0] == "POST"  # people are told later that it has come back


def test_what_is_over_at_once_is_not_said(outside: ScriptedServer, settings: Settings) -> None:
    settings.ALERT_AFTER_SECONDS = 60
    Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401))
    assert pinged(outside)[0] == "GET"


def test_who_cannot_find_out_does_not_ping(
    outside: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise DatabaseError("lost")

    monkeypatch.setattr(evaluation, "read_troubles", lost)
    with pytest.raises(DatabaseError):
        tasks.watch_troubles()
    assert outside.requests == []


def test_alerts_do_not_wait_for_it(
    told: Told, receiver: ScriptedServer, settings: Settings
) -> None:
    came_first = []

    def answer_late(server: ScriptedServer, connection: socket.socket) -> bool:
        ends = time.monotonic() + 5
        while not receiver.requests and time.monotonic() < ends:
            time.sleep(0.01)
        came_first.append(len(receiver.requests))
        return answer(200)(server, connection)

    outside = ScriptedServer()
    outside.script(answer_late)
    settings.HEARTBEAT_URL = outside.url
    Breaker("pinata").failed(AccountError("HTTP 401", vendor="pinata", status=401))
    assert len(told.now()) == 1
    assert came_first == [1]
    outside.close()


def test_a_worker_does_both_by_a_schedule() -> None:
    found = {schedule.func: schedule.cron for schedule in declared()}
    assert found["glisk.console.alerts.tasks.watch_troubles"] == "* * * * * */30"


def command() -> tuple[int, list[str]]:
    said, status = io.StringIO(), 0
    try:
        call_command("send_test_alert", stdout=said)
    except CommandError as error:
        status = error.returncode
    return status, said.getvalue().splitlines()


def test_the_test_alert_says_of_each_what_became_of_it(
    outside: ScriptedServer, settings: Settings
) -> None:
    settings.ALERT_URLS = [address_of(outside)]
    settings.ALERT_PAGE_URLS = [address_of(outside), f"{address_of(outside)}/2"]
    lines = [
        "ok     ALERT_URLS 1 (json)",
        "ok     ALERT_PAGE_URLS 2 (json)",
        "ok     HEARTBEAT_URL",
    ]
    assert command() == (0, lines)
    assert "nothing is wrong" in outside.requests[0].json["message"]
    outside._steps.clear()
    outside.script(answer(401), answer(200), answer(404))
    status, lines = command()
    assert status == NOT_HEARD
    assert lines[0].startswith("FAILED ALERT_URLS 1 (json): ")
    assert "401" in lines[0]
    assert lines[1] == "ok     ALERT_PAGE_URLS 2 (json)"
    assert lines[2].startswith("FAILED HEARTBEAT_URL: heartbeat: GET answered HTTP 404")
    settings.ALERT_URLS = settings.ALERT_PAGE_URLS = []
    settings.HEARTBEAT_URL = ""
    assert command() == (1, [])
