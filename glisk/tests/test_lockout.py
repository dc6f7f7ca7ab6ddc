"""Wrong passwords lock a login out, for one name from one address; the database counts them."""

from datetime import timedelta
from ipaddress import ip_network
from unittest.mock import patch

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django.fixtures import Settings

from glisk.console.roles import give_role, make_roles
from glisk.models import RequestCount
from glisk.security.lockout import purge_login_attempts
from glisk.tests.second_factors import ASK, PASSWORD, code_of, log_in, with_app
from glisk.tests.waiting import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
PROXY = "10.0.0.9"


@pytest.fixture(autouse=True)
def maria(settings: Settings) -> User:
    settings.AXES_FAILURE_LIMIT = 3
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    return User.objects.create_user("maria", password=PASSWORD, is_staff=True)


def guess(times: int, name: str = "maria", **sent: str) -> int:
    """Send so many wrong passwords; return the last answer's status."""
    return [log_in(Client(), name, "a wrong one", **sent) for _ in range(times)][-1]


def by_proxy(heard: str) -> dict[str, str]:
    return {"REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_FOR": heard}


def test_the_page_says_until_when_and_the_right_password_does_not_help(client: Client) -> None:
    assert guess(2) == 200
    assert guess(1) == 429
    form = {"username": "maria", "password": PASSWORD}
    page = client.post("/admin/login/", form)
    assert page.status_code == 429
    assert 880 < int(page["Retry-After"]) <= 900
    ends_at = AccessAttempt.objects.get().attempt_time + timedelta(seconds=900)
    assert f"until <strong>{ends_at:%H:%M}" in page.content.decode()
    assert "manage.py unlock_login maria" in page.content.decode()
    assert client.get("/admin/").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_guesses_at_the_same_time_are_all_counted() -> None:
    answers = at_once(6, lambda _: guess(1))
    assert set(answers) <= {200, 429}
    assert sum(attempt.failures_since_start for attempt in AccessAttempt.objects.all()) == 6
    assert log_in(Client(), "maria", PASSWORD) == 429


def test_a_lockout_ends_when_it_said_it_would_however_often_one_tries(client: Client) -> None:
    guess(3)
    begun = AccessAttempt.objects.get().attempt_time
    guess(3)
    assert AccessAttempt.objects.get().attempt_time == begun
    assert purge_login_attempts() == 0
    AccessAttempt.objects.update(attempt_time=begun - timedelta(seconds=901))
    assert log_in(client, "maria") == 302
    guess(1)
    AccessAttempt.objects.update(attempt_time=begun - timedelta(seconds=901))
    assert purge_login_attempts() == 1
    assert not AccessAttempt.objects.exists()


def test_others_and_other_addresses_are_not_locked_out(client: Client) -> None:
    User.objects.create_user("vera", password=PASSWORD, is_staff=True)
    guess(3, **by_proxy("203.0.113.5"))
    assert log_in(Client(), "maria", **by_proxy("203.0.113.5")) == 429
    assert log_in(Client(), "vera", **by_proxy("203.0.113.5")) == 302
    assert log_in(Client(), "maria", **by_proxy("203.0.113.6")) == 302


def test_who_tries_many_names_waits_a_minute_and_others_do_not() -> None:
    sent = by_proxy("203.0.113.5")
    assert {guess(1, f"maria{number}", **sent) for number in range(4 * 3)} == {200}
    assert guess(1, "somebody", **sent) == log_in(Client(), "maria", **sent) == 429
    assert log_in(Client(), "maria", **by_proxy("203.0.113.6")) == 302
    RequestCount.objects.update(ends_at=timezone.now())
    assert log_in(Client(), "maria", **sent) == 302


def test_a_made_up_header_neither_unlocks_nor_locks_others() -> None:
    # By the proxy, which adds on the right whom it heard; and past it, where nothing is believed.
    for number in range(3):
        guess(1, **by_proxy(f"198.51.100.{number}, 203.0.113.5"))
        guess(1, REMOTE_ADDR="192.0.2.1", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert log_in(Client(), "maria", **by_proxy("198.51.100.77, 203.0.113.5")) == 429
    spoofed = {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "198.51.100.77"}
    assert log_in(Client(), "maria", **spoofed) == 429
    for number in range(3):
        assert log_in(Client(), "maria", **by_proxy(f"198.51.100.{number}")) == 302


def test_an_ipv6_sender_is_a_network() -> None:
    for number in range(3):
        guess(1, **by_proxy(f"2001:db8:1:2::{number}"))
    assert log_in(Client(), "maria", **by_proxy("2001:db8:1:2:9::1")) == 429
    assert log_in(Client(), "maria", **by_proxy("2001:db8:1:3::1")) == 302


def test_where_there_are_no_addresses_the_name_is_counted() -> None:
    assert guess(3, REMOTE_ADDR="") == 429


def test_right_passwords_between_wrong_ones_forget_them() -> None:
    for _ in range(2):
        guess(2)
        assert log_in(Client(), "maria") == 302


def test_a_new_password_unlocks_and_forgets_wrong_codes(client: Client, maria: User) -> None:
    """Somebody who knew the old one may have made the wait for the next code days long."""
    device = with_app(maria)
    guess(3)
    TOTPDevice.objects.update(
        throttling_failure_count=20, throttling_failure_timestamp=timezone.now()
    )
    log_in(client, "maria", **by_proxy("203.0.113.5"))
    assert "changepassword maria" in client.post(ASK, {"code": "1" * 6}).content.decode()
    with patch("getpass.getpass", return_value="quite another secret"):
        call_command("changepassword", "maria")
    assert log_in(client, "maria", "quite another secret") == 302
    assert client.post(ASK, {"code": code_of(device.key)}).status_code == 302


def test_the_command_and_another_admin_unlock_and_the_audit_tells(
    client: Client, maria: User
) -> None:
    guess(3)
    call_command("unlock_login", "maria", reason="at the wrong keyboard")
    assert log_in(Client(), "maria") == 302
    with pytest.raises(CommandError, match="no user nobody"):
        call_command("unlock_login", "nobody")

    guess(3)
    make_roles()
    User.objects.create_user("root")
    client.force_login(give_role("root", "admin"))
    page = client.get(f"/admin/auth/user/{maria.pk}/change/").content.decode()
    assert "action/unlock_login/?keys" in page
    address = f"/admin/auth/user/action/unlock_login/?keys={maria.pk}"
    assert "Unlock login" in client.get(address).content.decode()
    form = {"keys": str(maria.pk), "once": "x", "reason": "she called"}
    client.post("/admin/auth/user/action/unlock_login/", form)
    assert log_in(Client(), "maria") == 302
    rows = client.get("/admin/audit/").content.decode()
    for told in ("Unlocked the login", "at the wrong keyboard", "she called"):
        assert rows.count(told) == 1, told
