"""A process that dies at any moment of the intake loses no mint and makes none twice."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from glisk.tests.database import database_url
from tokens.models import MintEvent, Token, TokenTransition
from webhooks.models import EventStatus, WebhookEvent
from webhooks.tasks import finish_events
from webhooks.tests.sending import block_event, block_log, post_alchemy

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


def die_at(moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webhooks.tests.dying_intake", moment],
        input=json.dumps(EVENT).encode(),
        env={
            **os.environ,
            "DATABASE_URL": database_url(str(connection.settings_dict["NAME"])),
            "DJANGO_SETTINGS_MODULE": "glisk.settings",
        },
        cwd=settings.BASE_DIR,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr.decode()
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


@pytest.mark.parametrize("moment", ["after storing", "between mints and tokens"])
def test_the_schedule_does_what_was_left_if_the_vendor_never_comes_again(moment: str) -> None:
    die_at(moment)
    assert finish_events() == 0  # its request may still be at work
    WebhookEvent.objects.update(last_delivery_at=timezone.now() - timedelta(minutes=2))
    assert finish_events() == 1
    assert_done_once()
    assert finish_events() == 0


@pytest.mark.parametrize("moment", ["after storing", "before the commit", "before the answer"])
def test_an_operator_may_do_it_any_time(moment: str) -> None:
    die_at(moment)
    call_command("replay_webhooks", "--event", EVENT["id"], verbosity=0)
    assert_done_once()
