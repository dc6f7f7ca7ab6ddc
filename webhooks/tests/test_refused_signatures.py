"""A wrong signing key is seen: in the log, on the dashboard; once a minute, not at every call."""

import time

import pytest
from django.core.cache import cache
from django.test import Client
from structlog.testing import capture_logs

from glisk.tests.alarms import alarms
from webhooks import authentication
from webhooks.tests.sending import ALCHEMY_URL, block_event, post_alchemy

ONCE_A_MINUTE = authentication.once_a_minute  # as it is when no test replaces it
WRONG = {"X-Alchemy-Signature": "0" * 64}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _a_minute_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "once_a_minute", ONCE_A_MINUTE)
    cache.clear()


def _refused(client: Client, url: str, headers: dict[str, str]) -> list[str]:
    """Deliver three times, in vain; return what was logged."""
    with capture_logs() as logs:
        for _ in range(3):
            answer = client.post(url, b"{}", content_type="application/json", headers=headers)
            assert answer.status_code == 401
    return [log["event"] for log in logs]


def test_a_wrong_signature_is_logged_and_kept_once_a_minute(client: Client) -> None:
    assert _refused(client, ALCHEMY_URL, {}) == []  # without any signature it is no vendor's
    assert not alarms()
    assert _refused(client, ALCHEMY_URL, WRONG) == ["webhook_signature_refused"]
    stamp = str(int(time.time()))
    wrong = {"webhook-id": "m", "webhook-timestamp": stamp, "webhook-signature": "v1,bm9uc2U="}
    assert _refused(client, "/webhooks/replicate", wrong) == ["webhook_signature_refused"]
    reasons = {alarm.name: alarm.reason for alarm in alarms()}
    assert reasons.keys() == {"refused-webhooks-alchemy", "refused-webhooks-replicate"}
    assert all("does not match" in reason for reason in reasons.values())


def test_the_dashboard_tells_until_the_right_key_ends_it(
    client: Client, admin_client: Client
) -> None:
    _refused(client, ALCHEMY_URL, WRONG)
    text = admin_client.get("/admin/").content.decode()
    assert "Alchemy&#x27;s webhooks are refused" in text
    assert "ALCHEMY_WEBHOOK_SECRET" in text
    assert post_alchemy(client, block_event([])).status_code == 200
    assert not alarms()
