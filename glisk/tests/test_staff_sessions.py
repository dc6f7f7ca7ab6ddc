"""Sessions of the staff end: when nobody is there, and after so many hours in any case."""

import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.handlers.wsgi import WSGIRequest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from glisk.security import sessions
from glisk.tests.second_factors import PASSWORD, log_in

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
AGE = 43_200  # SESSION_IDLE_SECONDS outside production


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the sessions' clock be set: the first element is the seconds that it is ahead."""
    ahead = [0.0]
    monkeypatch.setattr(sessions.time, "time", lambda real=time.time: real() + ahead[0])
    return ahead


def is_in(client: Client) -> bool:
    return client.get("/admin/auth/user/").status_code == 200


def expires_in() -> float:
    return (Session.objects.get().expire_date - timezone.now()).total_seconds()


def let_pass(seconds: float) -> None:
    """Age what is stored of the one session."""
    session = Session.objects.get()
    Session.objects.update(expire_date=session.expire_date - timedelta(seconds=seconds))


def test_a_session_ends_when_nobody_was_there_for_so_long(admin_client: Client) -> None:
    assert is_in(admin_client)
    assert AGE - 5 < expires_in() <= AGE
    let_pass(AGE + 1)
    assert not is_in(admin_client)


def test_who_is_there_stays_and_a_page_that_refreshes_itself_is_nobody(
    admin_client: Client, clock: list[float]
) -> None:
    assert is_in(admin_client)
    clock[0] = 100
    let_pass(100)
    admin_client.get("/admin/dashboard/", headers={"Sec-Fetch-Mode": "cors"})
    assert expires_in() < AGE - 50
    admin_client.get("/admin/auth/user/", headers={"Sec-Fetch-Mode": "navigate"})
    assert expires_in() > AGE - 5
    clock[0] = 110  # saved a moment ago: not again
    let_pass(10)
    assert is_in(admin_client)
    assert expires_in() < AGE - 5


def test_a_session_ends_after_so_long_whoever_is_there(
    admin_client: Client, settings: Settings, clock: list[float]
) -> None:
    for clock[0] in (settings.SESSION_MAX_SECONDS - 10, settings.SESSION_MAX_SECONDS + 10):
        assert is_in(admin_client) is (clock[0] < settings.SESSION_MAX_SECONDS)
    assert not Session.objects.exists()


def test_a_login_has_a_session_of_its_own_and_a_new_password_ends_all_of_them(
    client: Client,
) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client.get("/admin/login/")
    log_in(client, "root")
    first = client.session.session_key
    log_in(other := Client(), "root")
    assert is_in(client)
    assert is_in(other)
    client.post("/admin/logout/")
    log_in(client, "root")
    assert client.session.session_key != first
    user = User.objects.get()
    user.set_password("quite another secret")
    user.save()
    assert not is_in(client)
    assert not is_in(other)
    assert call_command("clearsessions") is None


@pytest.mark.django_db(transaction=True)
def test_no_connection_waits_for_a_body_whose_sender_takes_long(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    read = WSGIRequest.read

    def slowly(request: WSGIRequest, *args: int) -> bytes:
        held.append(connection.connection is not None)
        return read(request, *args)

    monkeypatch.setattr(WSGIRequest, "read", slowly)
    client.cookies["sessionid"] = "made-up-by-somebody"
    client.post("/admin/login/", "csrfmiddlewaretoken=x&" * 9, "application/x-www-form-urlencoded")
    client.post("/webhooks/replicate", "{}", "application/json")
    assert held
    assert not any(held)


def test_whoever_has_no_session_is_not_looked_at(
    client: Client, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert client.post("/webhooks/replicate").status_code in (401, 503)
        assert client.get("/openapi.json").status_code == 200
