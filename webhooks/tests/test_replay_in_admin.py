"""Stored events are processed again from the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from glisk.permissions import REPLAY_EVENT
from glisk.tests.admin_actions import action_page, audit, confirmation, give, operator, send
from tokens.models import Token
from webhooks import inbox
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tests.sending import block_event, block_log, post_alchemy

EVENTS = "webhooks_webhookevent"


def fail(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("the registration is broken")


@pytest.mark.django_db
def test_a_failed_event_is_replayed_once_by_those_who_may(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = "webhooks.view_webhookevent"
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "register_mints", fail)
        body = block_event([block_log(start=1, index=1)], event_id="whevt_1")
        assert post_alchemy(client, body).status_code == 503
        event = WebhookEvent.objects.get()
        operator(client, see, name="viewer")
        form = {"keys": str(event.pk), "once": "1"}
        assert client.post(action_page(EVENTS, "replay"), form).status_code == 403
        operator(client, see, REPLAY_EVENT)
        said = give(client, EVENTS, "replay", event.pk)
        assert not said.done
        assert "the registration is broken" in said.skipped[0]
        assert not audit(EVENTS)

    form, text = confirmation(client, EVENTS, "replay", event.pk)
    assert "whevt_1" in text
    said = send(client, EVENTS, "replay", {**form, "reason": "mended"})
    assert said.done == [f"Replay, #{event.pk}: Processed again: 1 token created."]
    assert WebhookEvent.objects.get().status == EventStatus.PROCESSED
    again = send(client, EVENTS, "replay", {**form, "reason": "mended"})
    assert "asked for already" in again.skipped[0]
    assert Token.objects.count() == 1
    assert audit(EVENTS) == [
        (str(event.pk), "Replay: Processed again: 1 token created. Reason: mended")
    ]


@pytest.mark.django_db
def test_an_events_page_says_in_words_what_became_of_each_mint(
    client: Client, admin_client: Client
) -> None:
    body = block_event([block_log(start=1, index=1, quantity=3)], event_id="whevt_1")
    assert post_alchemy(client, body).status_code == 200
    event = WebhookEvent.objects.get()
    page = admin_client.get(f"/admin/webhooks/webhookevent/{event.pk}/change/").content.decode()
    assert "log 0, " in page
    assert "tokens 1 to 3" in page
    listed = admin_client.get("/admin/webhooks/webhookevent/").content.decode()
    (verdict,) = event.verdicts
    assert f"1 {verdict['verdict']}" in listed
