"""What nobody needs any more goes by the hour, in portions; what recovery needs stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from authors.models import Action, SignInNonce, SpentMessage, XLinkRequest
from authors.tests.factories import AuthorFactory
from glisk.engine import schedules
from sandbox.accounts import AUTHORS
from tokens.models import PromptSample
from tokens.models.job import SampleStatus
from webhooks.models import EventStatus, WebhookEvent

pytestmark = pytest.mark.django_db
WALLET = AUTHORS[0].address


def ago(**age: float) -> Any:
    return timezone.now() - timedelta(**age)


def event(name: str, status: EventStatus, *, days: float, body: bytes = b"{}") -> WebhookEvent:
    made = WebhookEvent.objects.create(event_id=name, body=body, status=status)
    WebhookEvent.objects.filter(pk=made.pk).update(
        received_at=ago(days=days), last_delivery_at=ago(days=days)
    )
    return made


def sample(*, days: float, status: SampleStatus = SampleStatus.DONE) -> PromptSample:
    return PromptSample.objects.create(
        author=AuthorFactory.create(),
        prompt="a lighthouse",
        actor="operator",
        status=status,
        input={},
        model="owner/name",
        cost_usd="0.003",
        data=b"bytes" if status == SampleStatus.DONE else None,
        mime_type="image/png",
        completed_at=ago(days=days),
    )


def nonce(number: int, *, hours: float) -> SignInNonce:
    return SignInNonce.objects.create(
        nonce=f"nonce{number}",
        wallet_address=WALLET,
        action=Action.UPDATE_PROMPT,
        message="…",
        expires_at=ago(hours=hours),
    )


def test_the_hourly_housekeeping_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_declared", {})
    schedules.declare_housekeeping()
    assert {found.name: found.cron for found in schedules.declared()}["purge"] == "0 * * * * 0"
    event("old", EventStatus.PROCESSED, days=31)
    kept_sample = sample(days=31)
    nonce(1, hours=2)
    Session.objects.create(session_key="key", session_data="", expire_date=ago(hours=1))
    SpentMessage.objects.create(digest="d", expires_at=ago(hours=1))
    XLinkRequest.objects.create(
        state_hash="s", browser_hash="b", wallet_address=WALLET, expires_at=ago(hours=1)
    )
    schedules.purge()
    for model in (WebhookEvent, SignInNonce, Session, SpentMessage, XLinkRequest):
        assert not model._default_manager.exists(), model
    kept_sample.refresh_from_db()
    assert kept_sample.data is None
    assert kept_sample.cost_usd is not None


def test_events_that_were_not_done_stay_until_they_are() -> None:
    for status in EventStatus:
        event(f"old {status}", status, days=400)
        event(f"young {status}", status, days=29)
    schedules.purge()
    left = set(WebhookEvent.objects.values_list("event_id", flat=True))
    young = {f"young {status}" for status in EventStatus}
    assert left == young | {"old received", "old failed"}
    assert {bytes(event.body) for event in WebhookEvent.objects.all()} == {b"{}"}  # whole


def test_retention_is_a_setting(settings: Settings) -> None:
    settings.WEBHOOK_RETENTION_DAYS = settings.SAMPLE_RETENTION_DAYS = 2
    event("old", EventStatus.IGNORED, days=2.1)
    event("young", EventStatus.IGNORED, days=1.9)
    old, young = sample(days=2.1), sample(days=1.9)
    schedules.purge()
    assert WebhookEvent.objects.get().event_id == "young"
    assert list(PromptSample.objects.filter(data=None)) == [old]
    young.refresh_from_db()
    assert bytes(young.data or b"") == b"bytes"


def test_what_can_still_be_used_stays(admin_client: Client) -> None:
    nonce(1, hours=-1)  # not used yet
    nonce(2, hours=0.5)  # expired lately: its owner reads why
    schedules.purge()
    assert SignInNonce.objects.count() == 2
    assert admin_client.get("/admin/").status_code == 200  # still logged in


def test_many_rows_go_in_portions_and_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        nonce(number, hours=2)
    monkeypatch.setattr(schedules.delete_in_portions, "__kwdefaults__", {"at_once": 2})
    with CaptureQueriesContext(connection) as captured:
        schedules.purge()
    table = f'DELETE FROM "{SignInNonce._meta.db_table}"'
    assert sum(query["sql"].startswith(table) for query in captured.captured_queries) == 3
    assert not SignInNonce.objects.exists()
    assert schedules.in_portions(lambda limit: limit, at_once=7, budget_seconds=0) == 0


@pytest.mark.plans
def test_the_oldest_events_are_found_by_an_index() -> None:
    """However many younger ones there are."""
    WebhookEvent.objects.bulk_create(
        WebhookEvent(event_id=f"e{number}", body=b"{}", status=EventStatus.PROCESSED)
        for number in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE webhook_events")
        cursor.execute(
            "EXPLAIN SELECT id FROM webhook_events WHERE status IN ('processed', 'ignored') AND "
            "received_at < now() - interval '30 days' ORDER BY received_at LIMIT 1000"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "webhook_event_newest" in plan
    assert "Seq Scan" not in plan


def test_a_sample_without_its_image_says_why(client: Client) -> None:
    old = sample(days=31)
    schedules.purge()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/tokens/promptsample/{old.pk}/change/")
    assert "It was deleted 30 d after it was made." in page.content.decode()
    assert client.get(f"/admin/tokens/promptsample/{old.pk}/picture/").status_code == 404
    assert client.get("/admin/tokens/promptsample/").status_code == 200
