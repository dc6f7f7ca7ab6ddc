"""Stored events are processed again: one, the failed ones, or a range of time."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from tokens.models import MintEvent, Token
from webhooks import inbox
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tests.sending import block_event, block_log, post_alchemy

pytestmark = pytest.mark.django_db


def replay(*arguments: str) -> str:
    output = io.StringIO()
    try:
        call_command("replay_webhooks", *arguments, stdout=output)
    except CommandError as error:
        return f"{output.getvalue()}{error}, status {error.returncode}"
    return output.getvalue()


def event(number: int, **facts: Any) -> dict[str, Any]:
    return block_event([block_log(start=number, index=number, **facts)], event_id=f"whevt_{number}")


def states() -> dict[str, str]:
    return dict(WebhookEvent.objects.values_list("event_id", "status"))


@pytest.fixture
def three_failed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events 1 to 3 failed; the fault is mended by now. Event 4 was processed."""

    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("the registration is broken")

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "register_mints", fail)
        for number in (1, 2, 3):
            assert post_alchemy(client, event(number)).status_code == 503
    post_alchemy(client, event(4))


def test_failed_events_are_replayed_and_done_ones_without_harm(three_failed: None) -> None:
    told = replay("--failed", "--dry-run")
    assert "whevt_1  failed" in told
    assert "3 events would be processed again" in told
    assert Token.objects.count() == 1
    assert "3 events processed, 3 tokens created, 0 failed" in replay("--failed")
    assert set(states().values()) == {EventStatus.PROCESSED}
    assert set(WebhookEvent.objects.values_list("error", flat=True)) == {""}
    before = list(Token.objects.values_list("token_id", "updated_at"))
    assert "1 event processed, 0 tokens created" in replay("--event", "whevt_4")
    assert list(Token.objects.values_list("token_id", "updated_at")) == before
    assert WebhookEvent.objects.get(event_id="whevt_4").verdicts[0]["verdict"] == "duplicate"


def test_an_event_that_was_done_brings_back_what_was_lost(three_failed: None) -> None:
    """The database was restored from an older backup, but for the inbox."""
    Token.objects.all().delete()
    MintEvent.objects.all().delete()
    assert "1 token created" in replay("--event", "whevt_4")


def test_a_range_of_time_is_replayed(three_failed: None) -> None:
    for number in (1, 2, 3, 4):
        WebhookEvent.objects.filter(event_id=f"whevt_{number}").update(
            received_at=datetime(2026, 2, number, 12, tzinfo=UTC)
        )
    replay("--since", "2026-02-02", "--until", "2026-02-03T12:00:00")
    assert sorted(Token.objects.values_list("pk", flat=True)) == [2, 4]
    replay("--since", "2026-02-03T13:00:00+01:00")
    assert sorted(Token.objects.values_list("pk", flat=True)) == [2, 3, 4]


def test_what_fails_again_is_named_with_status_2(
    three_failed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inbox.register_mints

    def fail_once(logs: Any, **options: Any) -> Any:
        if logs[0].start_token_id == 2:
            raise RuntimeError("still broken")
        return whole(logs, **options)

    monkeypatch.setattr(inbox, "register_mints", fail_once)
    WebhookEvent.objects.filter(event_id="whevt_1").update(body=b"not json")
    WebhookEvent.objects.create(event_id="whevt_5", body=b'{"id": 5}')
    told = replay("--failed")
    assert "1 event processed, 1 token created, 3 failed" in told
    assert "whevt_1: The body is not JSON" in told
    assert "whevt_2: RuntimeError: still broken" in told
    assert "whevt_5: The event has no usable id" in told
    assert told.endswith("status 2")
    assert states()["whevt_2"] == EventStatus.FAILED


def test_what_to_replay_has_to_be_said_once() -> None:
    for arguments in (
        (),
        ("--failed", "--event", "x"),
        ("--since", "yesterday"),
        ("--until", "2026-02-01"),
    ):
        assert replay(*arguments).endswith("status 1")
    told = replay("--event", "whevt_unknown")
    assert told == "There is no event 'whevt_unknown' in the inbox., status 1"
