"""Statements that come with every delivery are prepared once per connection."""

from contextlib import suppress

import pytest
from django.db import connection
from django.test import Client

from tokens.models import Token
from webhooks.inbox import prepared_statements
from webhooks.tests.sending import block_event, block_log, post_alchemy

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_statements_of_a_delivery_are_prepared_when_they_come_again(client: Client) -> None:
    connection.close()  # what other tests prepared goes with their connection
    for number in range(1, 5):
        log = block_log(start=number, tx=number)
        answer = post_alchemy(client, block_event([log], event_id=f"whevt_{number}"))
        assert answer.json()["status"] == "processed"
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        statements = [statement for (statement,) in cursor.fetchall()]
    for table in ("webhook_events", "mint_events", "tokens_s0"):
        found = [text for text in statements if f"INSERT INTO {table}" in text]
        assert len(found) == 1, table
    assert Token.objects.count() == 4


def test_the_connection_is_given_back_as_it_came() -> None:
    connection.ensure_connection()
    session = connection.connection
    before = session.cursor_factory, session.prepare_threshold
    with suppress(ZeroDivisionError), prepared_statements():
        assert (session.cursor_factory, session.prepare_threshold) != before
        raise ZeroDivisionError
    assert (session.cursor_factory, session.prepare_threshold) == before
