"""A process that dies at any moment of the intake loses no mint and makes none twice."""

import os
from datetime import timedelta
from typing import Any, NoReturn

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from glisk.tests.database import database_url
from tokens.minting import registration
from tokens.models import MintEvent, Token, TokenTransition
from webhooks import inbox
from webhooks.alchemy import read_event
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tasks import finish_events
from webhooks.tests.sending import block_event, block_log, encoded, post_alchemy

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

EVENT: dict[str, Any] = block_event([block_log(quantity=3), block_log(start=4, index=9)])
# The moment, and how far it came: the event's state, and the tokens that are there.
MOMENTS = {
    "after storing": (EventStatus.RECEIVED, 0),
    "between mints and tokens": (EventStatus.RECEIVED, 0),
    "before the verdicts": (EventStatus.RECEIVED, 0),
    "before the commit": (EventStatus.RECEIVED, 0),
    "before the answer": (EventStatus.PROCESSED, 4),
}


def die(*arguments: Any, **options: Any) -> NoReturn:
    os._exit(9)


def receive_and_die(moment: str) -> NoReturn:
    finish = inbox._finish

    def finish_and_die(*arguments: Any) -> NoReturn:
        finish(*arguments)
        die()

    patch = pytest.MonkeyPatch()
    match moment:
        case "after storing":
            patch.setattr(inbox, "_process", die)
        case "between mints and tokens":
            patch.setattr(registration, "create_tokens", die)
        case "before the verdicts":
            patch.setattr(inbox, "_finish", die)
        case "before the commit":
            patch.setattr(inbox, "_finish", finish_and_die)
    inbox.receive_event(read_event(encoded(EVENT)), encoded(EVENT))
    die()


def die_at(moment: str) -> None:
    """Take the event in by a process of its own, which dies as by kill -9."""
    connection.close()  # each process has a connection of its own
    child = os.fork()
    if not child:
        try:
            receive_and_die(moment)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    event = WebhookEvent.objects.get()
    assert (event.status, Token.objects.count()) == MOMENTS[moment]


def assert_done_once() -> None:
    event = WebhookEvent.objects.get()
    assert (event.status, event.error) == (EventStatus.PROCESSED, "")
    assert len(event.verdicts) == 2
    assert sorted(Token.objects.values_list("token_id", flat=True)) == [1, 2, 3, 4]
    assert MintEvent.objects.count() == 2
    assert TokenTransition.objects.count() == 4


@pytest.fixture
def listener() -> Any:
    session = psycopg.connect(database_url(), autocommit=True)
    session.execute("LISTEN glisk_pipeline")
    session.execute("LISTEN fence")
    yield session
    session.close()


def times_woken(listener: psycopg.Connection) -> int:
    """Count the wake-ups until now: what is notified after them comes after them."""
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY fence")
    for count, notice in enumerate(listener.notifies(timeout=60)):
        if notice.channel == "fence":
            return count
    raise AssertionError("the fence did not come")


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_delivery_does_what_was_left(
    client: Client, listener: psycopg.Connection, moment: str
) -> None:
    die_at(moment)
    woken = times_woken(listener)
    assert woken == (1 if MOMENTS[moment][1] else 0)
    assert post_alchemy(client, EVENT).status_code == 200
    assert_done_once()
    assert woken + times_woken(listener) == 1


def test_the_schedule_does_what_was_left_if_the_vendor_never_comes_again() -> None:
    die_at("between mints and tokens")
    assert finish_events() == 0  # its request may still be at work
    WebhookEvent.objects.update(last_delivery_at=timezone.now() - timedelta(minutes=2))
    assert finish_events() == 1
    assert_done_once()
    assert finish_events() == 0
