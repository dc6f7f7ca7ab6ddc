"""Nobody who may spend acts with a password alone; phones break, and get lost."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AuthToken
from pytest_django.fixtures import Settings

from glisk.console.roles import give_role, make_roles
from glisk.models import OperatorAction
from glisk.security.second_factor import check_code, make_recovery_codes
from glisk.tests.second_factors import ASK, PASSWORD, SET_UP, code_of, log_in, with_app

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
CONTROLS = "/admin/glisk/systemstate/controls/"


@pytest.fixture(autouse=True)
def required(settings: Settings) -> None:
    settings.SECOND_FACTOR_REQUIRED = True


@pytest.fixture
def maria() -> User:
    make_roles()
    User.objects.create_user("maria", password=PASSWORD)
    return give_role("maria", "operator")


def set_up(client: Client) -> tuple[str, list[str]]:
    """Set up a second factor as a person does; return the secret and the recovery codes."""
    page = client.get(SET_UP).content.decode()
    assert "<svg" in page
    key = client.session["second_factor_key"]
    shown = client.post(SET_UP, {"code": code_of(key)}).content.decode()
    return key, re.findall(r"<code>([a-z2-7]{4}-[a-z2-7]{4})</code>", shown)


@pytest.mark.pages
def test_who_has_no_second_factor_is_led_to_the_set_up_and_then_to_the_page_asked_for(
    client: Client, maria: User
) -> None:
    assert log_in(client, "maria") == 302
    led = client.get("/admin/tokens/token/?status=failed", follow=True)
    assert led.request["PATH_INFO"] == SET_UP
    assert 'name="next" value="/admin/tokens/token/?status=failed"' in led.content.decode()
    key, codes = set_up(client)
    assert len(set(codes)) == 10
    assert client.get("/admin/tokens/token/").status_code == 200
    assert TOTPDevice.objects.get(user=maria).key == key
    client.force_login(User.objects.create_superuser("root"))
    set_up(client)
    User.objects.create_user("vera")
    shown = client.get("/admin/auth/user/").content.decode()
    assert (shown.count("Not set up"), len(re.findall(r">\s*On\s*<", shown))) == (1, 2)
    told = OperatorAction.objects.order_by("pk")[0]
    assert (told.actor, told.action, told.subject) == (
        *("operator maria", "set_up_second_factor"),
        "maria",
    )


def test_a_password_alone_changes_nothing_whatever_is_posted(client: Client, maria: User) -> None:
    log_in(client, "maria")
    pause = {"do": "pause", "subject": "generation", "reason": "because", "once": "x"}
    for path in (CONTROLS, "/admin/tokens/token/action/retry/", "/admin/password_change/", "/"):
        answer = client.post(path, pause)
        assert answer.status_code in (302, 403), path
        assert answer.status_code == 403 or answer["Location"] == ASK
    for path in ("/api/admin/system/state", "/api/admin/tokens?status=failed"):
        assert client.get(path).status_code == 403
    refused = client.post("/api/admin/reveal", {"token_ids": [1]}, content_type="application/json")
    assert refused.status_code == 403
    assert "second factor" in refused.json()["detail"]
    assert not OperatorAction.objects.exists()


def test_who_may_only_look_needs_none_nor_does_a_token_of_the_api(
    client: Client, maria: User
) -> None:
    User.objects.create_user("vera", password=PASSWORD)
    give_role("vera", "viewer")
    log_in(client, "vera")
    assert client.get("/admin/tokens/token/").status_code == 200
    _, token = AuthToken.objects.create(maria)
    script = Client(headers={"Authorization": f"Token {token}"})
    assert script.get("/api/admin/system/state").status_code == 200


def test_where_it_is_not_required_a_login_is_one_step_unless_somebody_has_one(
    client: Client, maria: User, settings: Settings
) -> None:
    settings.SECOND_FACTOR_REQUIRED = False
    log_in(client, "maria")
    assert client.get("/admin/").status_code == 200
    device = with_app(maria)
    log_in(other := Client(), "maria")
    assert other.get("/admin/")["Location"] == f"{ASK}?next=%2Fadmin%2F"
    let_in = other.post(ASK, {"code": code_of(device.key), "next": "/admin/authors/author/"})
    assert let_in["Location"] == "/admin/authors/author/"
    assert other.get("/admin/").status_code == 200


def test_a_code_works_once_and_under_a_new_session(client: Client, maria: User) -> None:
    device = with_app(maria)
    code = code_of(device.key)
    log_in(client, "maria")
    before = client.session.session_key
    assert client.post(ASK, {"code": f"{code[:3]} {code[3:]}"}).status_code == 302
    assert client.session.session_key != before
    log_in(other := Client(), "maria")
    again = other.post(ASK, {"code": code})
    assert "not right, or was used already" in again.content.decode()
    assert other.get("/admin/").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_two_who_send_one_code_at_once_one_gets_in() -> None:
    user = User.objects.create_user("maria")
    device = with_app(user)
    (recovery, *_) = make_recovery_codes(user, action="set_up_second_factor")
    for code in (code_of(device.key), recovery.replace("-", "")):
        barrier = Barrier(2)

        def send(code: str = code, barrier: Barrier = barrier) -> bool:
            barrier.wait(10)
            try:
                return check_code(user, code)[0] is not None
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(lambda _: send(), range(2))) == [False, True]


def test_wrong_codes_are_throttled_and_the_page_says_until_when(
    client: Client, maria: User
) -> None:
    device = with_app(maria)
    log_in(client, "maria")
    wrong = f"{(int(code_of(device.key)) + 1) % 10**6:06d}"
    assert "not right" in client.post(ASK, {"code": wrong}).content.decode()
    TOTPDevice.objects.update(throttling_failure_count=8)
    page = client.post(ASK, {"code": code_of(device.key, later=1)})
    assert page.status_code == 429
    until = timezone.now() + timedelta(seconds=128)
    assert f"{until:%H:%M}" in page.content.decode()
    call_command("unlock_login", "maria", reason="at the wrong keyboard")
    assert client.post(ASK, {"code": code_of(device.key, later=1)}).status_code == 302


@pytest.mark.pages
def test_a_recovery_code_works_once_and_new_ones_void_the_old(client: Client, maria: User) -> None:
    log_in(client, "maria")
    _, codes = set_up(client)
    for first, status in ((codes[0].upper(), 302), (codes[0], 200)):
        log_in(lost := Client(), "maria")
        TOTPDevice.objects.update(throttling_failure_count=20)  # that of the app does not count
        assert lost.post(ASK, {"code": first}).status_code == status
    assert StaticToken.objects.count() == 9
    renewed = client.post(ASK)
    assert codes[1] not in renewed.content.decode()
    log_in(lost := Client(), "maria")
    assert lost.post(ASK, {"code": codes[1]}).status_code == 200
    assert lost.get("/admin/").status_code == 302


def test_a_stolen_password_cannot_set_up_another_phone(client: Client, maria: User) -> None:
    device = with_app(maria)
    log_in(client, "maria")
    assert client.get(SET_UP)["Location"].startswith(ASK)
    session = client.session
    session["second_factor_key"] = "ab" * 20
    session.save()
    assert client.post(SET_UP, {"code": code_of("ab" * 20)})["Location"].startswith(ASK)
    assert TOTPDevice.objects.get().key == device.key


@pytest.mark.pages
def test_a_new_phone_replaces_the_old_one_and_ends_other_sessions(
    client: Client, maria: User
) -> None:
    device = with_app(maria)
    log_in(other := Client(), "maria")
    log_in(client, "maria")
    client.post(ASK, {"code": code_of(device.key)})
    key, _ = set_up(client)
    assert TOTPDevice.objects.get().key == key != device.key
    assert client.get("/admin/").status_code == 200
    assert other.get("/admin/")["Location"].startswith("/admin/login/")


@pytest.mark.pages
def test_who_lost_everything_is_let_in_by_somebody_with_the_server(
    client: Client, maria: User
) -> None:
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("remove_second_factor", "maria", yes=True)
    log_in(client, "maria")
    set_up(client)
    with pytest.raises(CommandError, match="Add --yes"):
        call_command("remove_second_factor", "maria")
    call_command("remove_second_factor", "maria", yes=True, reason="lost her phone")
    assert client.get("/admin/")["Location"].startswith("/admin/login/")  # logged out
    log_in(client, "maria")
    assert client.get("/admin/", follow=True).request["PATH_INFO"] == SET_UP
    told = OperatorAction.objects.get(action="remove_second_factor")
    assert (told.actor, told.subject, told.reason) == (
        *("remove_second_factor", "maria"),
        "lost her phone",
    )


def test_secrets_are_on_no_other_page(
    admin_client: Client, admin_user: User, settings: Settings
) -> None:
    settings.SECOND_FACTOR_REQUIRED = False
    with_app(admin_user)
    for path in ("/admin/otp_totp/totpdevice/", "/admin/otp_static/staticdevice/"):
        assert admin_client.get(path).status_code == 404
