"""A wrong signing key is seen: in the log, on the dashboard; once a minute, not at every call."""

import time
from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from structlog.testing import capture_logs

from glisk.models import SystemState
from glisk.tests.alarms import alarms
from webhooks import authentication
from webhooks.tests.sending import ALCHEMY_URL, block_event, post_alchemy

ONCE_A_MINUTE = authentication.once_a_minute  # as it is when no test replaces it
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_minute_begins(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(authentication, "once_a_minute", ONCE_A_MINUTE)
    cache.clear()
    return cache.clear


def _deliver(client: Client, **headers: str) -> int:
    answer = client.post(ALCHEMY_URL, b"{}", content_type="application/json", headers=headers)
    return int(answer.status_code)


def test_a_wrong_signature_is_logged_and_kept_once_a_minute(client: Client) -> None:
    with capture_logs() as logs:
        assert [_deliver(client, x_alchemy_signature="0" * 64) for _ in range(3)] == [401] * 3
    assert [log["event"] for log in logs] == ["webhook_signature_refused"]
    (refused,) = alarms()
    assert refused.name == "refused-webhooks-alchemy"
    assert "does not match" in refused.reason


def test_replicates_callbacks_are_watched_too(client: Client) -> None:
    answer = client.post(
        "/webhooks/replicate",
        b"{}",
        content_type="application/json",
        headers={
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(time.time())),
            "webhook-signature": "v1,bm9uc2Vuc2U=",
        },
    )
    assert answer.status_code == 401
    (refused,) = alarms()
    assert refused.name == "refused-webhooks-replicate"


def test_a_call_without_any_signature_is_no_vendors(client: Client) -> None:
    with capture_logs() as logs:
        assert _deliver(client) == 401
    assert not logs
    assert not alarms()


def test_a_series_keeps_its_beginning_and_is_forgotten_after_a_quarter_of_an_hour(
    client: Client, a_minute_begins: Callable[[], None]
) -> None:
    _deliver(client, x_alchemy_signature="0" * 64)
    _let_pass(minutes=10)
    (first,) = alarms()

    a_minute_begins()
    _deliver(client, x_alchemy_signature="0" * 64)
    (again,) = alarms()
    assert again.since == first.since
    _let_pass(minutes=10)
    assert alarms() == [again]

    _let_pass(minutes=6)
    assert not alarms()
    a_minute_begins()
    _deliver(client, x_alchemy_signature="0" * 64)
    (new,) = alarms()
    assert new.since > first.since


def test_the_dashboard_tells_until_the_right_key_ends_it(
    client: Client, admin_client: Client
) -> None:
    _deliver(client, x_alchemy_signature="0" * 64)
    text = admin_client.get("/admin/").content.decode()
    assert "Alchemy&#x27;s webhooks are refused" in text
    assert "ALCHEMY_WEBHOOK_SECRET" in text
    answer = post_alchemy(client, block_event([]))
    assert answer.status_code == 200
    assert not alarms()


def _let_pass(*, minutes: int) -> None:
    """Move what was noted into the past."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {SystemState._meta.db_table} SET "
            "updated_at = updated_at - make_interval(mins => %s)",
            [minutes],
        )
