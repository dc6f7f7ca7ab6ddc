"""An event is stored before the work, done once, and done again after a failure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from authors.models import Author
from glisk.tests.database import database_url
from glisk.tests.waiting import at_once
from tokens.models import MintEvent, Token
from webhooks import inbox
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tasks import finish_events
from webhooks.tests.sending import block_event, block_log, post_alchemy

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = block_event([block_log(quantity=3)])


def test_a_processed_event_is_answered_at_once_the_next_time(client: Client) -> None:
    post_alchemy(client, EVENT)
    first = WebhookEvent.objects.get()
    with CaptureQueriesContext(connection) as queries:
        response = post_alchemy(client, EVENT)
    assert response.json() == {"status": "duplicate"}
    assert len(queries) == 1
    again = WebhookEvent.objects.get()
    assert again.deliveries == 2
    assert again.last_delivery_at > first.last_delivery_at
    assert (again.processed_at, again.verdicts) == (first.processed_at, first.verdicts)


@pytest.fixture
def broken_registration(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let the work fail after the tokens were created, for as long as the patch stands."""
    whole = inbox.register_mints

    def fail_late(*args: Any, **kwargs: Any) -> Any:
        whole(*args, **kwargs)
        raise RuntimeError("the key whsec_sandbox_alchemy is not for the error text\x00")

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "register_mints", fail_late)
        yield patch


def test_a_failed_event_is_kept_alone_and_processed_at_its_next_delivery(
    client: Client, broken_registration: pytest.MonkeyPatch
) -> None:
    response = post_alchemy(client, EVENT)
    assert response.status_code == 503
    event = WebhookEvent.objects.get()
    assert event.status == EventStatus.FAILED
    assert event.error.startswith("RuntimeError: the key")
    assert "sandbox_alchemy" not in event.error + response.content.decode()
    assert not MintEvent.objects.exists()
    assert not Token.objects.exists()
    broken_registration.undo()
    assert post_alchemy(client, EVENT).json()["status"] == "processed"
    event.refresh_from_db()
    assert (event.status, event.error, event.deliveries) == (EventStatus.PROCESSED, "", 2)
    assert Token.objects.count() == 3


def test_unfinished_events_are_finished_and_none_holds_the_others_back(
    client: Client, broken_registration: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        log = block_log(start=1 + number, index=number)
        post_alchemy(client, block_event([log], event_id=f"whevt_{number}"))
    assert finish_events() == 0  # too fresh: their requests may still be at work
    WebhookEvent.objects.update(last_delivery_at=timezone.now() - timedelta(minutes=2))
    assert finish_events(limit=2) == 0  # still broken
    broken_registration.undo()
    assert finish_events(limit=1) == 1
    assert WebhookEvent.objects.get(event_id="whevt_2").status == EventStatus.PROCESSED
    assert finish_events() == 2
    assert finish_events() == 0
    assert Token.objects.count() == 3


def test_a_table_that_stays_locked_asks_the_sender_to_come_again(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        with psycopg.connect(database_url()) as other:
            other.execute("LOCK TABLE tokens_s0 IN ACCESS EXCLUSIVE MODE")
            assert post_alchemy(client, EVENT).status_code == 503
        assert WebhookEvent.objects.get().status == EventStatus.FAILED
        assert post_alchemy(client, EVENT).json()["status"] == "processed"
    finally:
        connection.close()


def _deliver_at_once(payload: dict[str, Any]) -> list[Any]:
    return at_once(4, lambda _: post_alchemy(Client(), payload))


def test_deliveries_of_one_event_at_the_same_time_end_as_one() -> None:
    for turn in range(10):
        log = block_log(start=1 + turn * 10, quantity=10, index=turn)
        event = block_event([log], event_id=f"whevt_{turn}")
        responses = _deliver_at_once(event)
        assert [response.status_code for response in responses] == [200] * 4
        told = sorted(response.json()["status"] for response in responses)
        assert told == ["duplicate"] * 3 + ["processed"]
    assert Token.objects.count() == 100
    assert set(WebhookEvent.objects.values_list("status", "deliveries")) == {("processed", 4)}
    assert {event.verdicts[0]["verdict"] for event in WebhookEvent.objects.all()} == {"registered"}


def test_fifty_tokens_take_four_statements(client: Client) -> None:
    Author.objects.default()
    with CaptureQueriesContext(connection) as queries:
        post_alchemy(client, block_event([block_log(quantity=50)]))
    statements = [query["sql"] for query in queries if query["sql"] not in ("BEGIN", "COMMIT")]
    assert len(queries) - len(statements) == 2
    assert len(statements) == 4, "\n".join(statements)
    assert Token.objects.count() == 50
