"""Stored events are processed again: one, the failed ones, or a range of time."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from tokens.models import MintEvent, Token, TokenTransition
from webhooks import inbox
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tests.sending import block_event, block_log, post_alchemy

pytestmark = pytest.mark.django_db


def replay(*arguments: str) -> str:
    output = io.StringIO()
    call_command("replay_webhooks", *arguments, stdout=output)
    return output.getvalue()


def refusal(*arguments: str) -> CommandError:
    with pytest.raises(CommandError) as caught:
        replay(*arguments)
    return caught.value


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


def test_failed_events_are_replayed(three_failed: None) -> None:
    assert "3 events processed, 3 tokens created, 0 failed" in replay("--failed")
    assert set(states().values()) == {EventStatus.PROCESSED}
    assert set(WebhookEvent.objects.values_list("error", flat=True)) == {""}
    assert "0 events processed" in replay("--failed")


def test_one_event_is_replayed(three_failed: None) -> None:
    assert "1 events processed, 1 tokens created" in replay("--event", "whevt_2")
    assert [t.token_id for t in Token.objects.order_by("pk")] == [2, 4]
    assert states()["whevt_1"] == EventStatus.FAILED


def test_an_event_that_was_done_is_replayed_without_harm(three_failed: None) -> None:
    before = list(Token.objects.values_list("token_id", "updated_at"))
    assert "1 events processed, 0 tokens created" in replay("--event", "whevt_4")
    assert list(Token.objects.values_list("token_id", "updated_at")) == before
    assert TokenTransition.objects.count() == 1
    assert WebhookEvent.objects.get(event_id="whevt_4").verdicts[0]["verdict"] == "duplicate"


def test_an_event_that_was_done_brings_back_what_was_lost(three_failed: None) -> None:
    """The database was restored from an older backup, but for the inbox."""
    Token.objects.all().delete()
    MintEvent.objects.all().delete()
    assert "1 tokens created" in replay("--event", "whevt_4")


def test_a_range_of_time_is_replayed(three_failed: None) -> None:
    for number in (1, 2, 3, 4):
        WebhookEvent.objects.filter(event_id=f"whevt_{number}").update(
            received_at=datetime(2026, 2, number, 12, tzinfo=UTC)
        )
    replay("--since", "2026-02-02", "--until", "2026-02-03T12:00:00")
    assert sorted(Token.objects.values_list("pk", flat=True)) == [2, 4]
    replay("--since", "2026-02-03T13:00:00+01:00")
    assert sorted(Token.objects.values_list("pk", flat=True)) == [2, 3, 4]


def test_a_dry_run_lists_and_changes_nothing(three_failed: None) -> None:
    before = states()
    told = replay("--failed", "--dry-run")
    assert "whevt_1  failed" in told
    assert "3 events would be processed again" in told
    assert states() == before
    assert Token.objects.count() == 1


def test_what_fails_again_is_named_with_status_2(
    three_failed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inbox.register_mints

    def fail_once(logs: Any, **options: Any) -> Any:
        if logs[0].start_token_id == 2:
            raise RuntimeError("still broken")
        return whole(logs, **options)

    monkeypatch.setattr(inbox, "register_mints", fail_once)
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("replay_webhooks", "--failed", stdout=output)
    assert caught.value.returncode == 2
    assert "2 events processed, 2 tokens created, 1 failed" in output.getvalue()
    assert "whevt_2: RuntimeError: still broken" in output.getvalue()
    assert states()["whevt_2"] == EventStatus.FAILED


def test_a_body_that_is_no_event_any_more_is_named(three_failed: None) -> None:
    WebhookEvent.objects.filter(event_id="whevt_1").update(body=b"not json")
    WebhookEvent.objects.filter(event_id="whevt_2").update(body=b'{"id": 5}')
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("replay_webhooks", "--failed", stdout=output)
    assert caught.value.returncode == 2
    assert "whevt_1: The body is not valid JSON" in output.getvalue()
    assert "whevt_2: the event has no usable id" in output.getvalue()


def test_an_unknown_event_is_status_1() -> None:
    error = refusal("--event", "whevt_unknown")
    assert error.returncode == 1
    assert "no event 'whevt_unknown'" in str(error)


def test_what_to_replay_has_to_be_said_once() -> None:
    for arguments in (
        (),
        ("--failed", "--event", "x"),
        ("--since", "yesterday"),
        ("--until", "2026-02-01"),
        ("--failed", "--until", "2026-02-01"),
    ):
        assert refusal(*arguments).returncode == 1
