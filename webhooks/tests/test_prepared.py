"""Statements that come with every delivery are prepared once per connection."""

from contextlib import suppress

import pytest
from django.db import connection
from django.test import Client

from tokens.models import Token
from webhooks.prepared import prepared_statements
from webhooks.tests.sending import block_event, block_log, post_alchemy

pytestmark = pytest.mark.django_db(transaction=True)


def prepared() -> list[str]:
    """Return what this connection's server process has prepared."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [row[0] for row in cursor.fetchall()]


def deliver(client: Client, number: int) -> None:
    log = block_log(start=number, tx=number)
    response = post_alchemy(client, block_event([log], event_id=f"whevt_{number}"))
    assert response.json()["status"] == "processed"


def test_the_statements_of_a_delivery_are_prepared_when_they_come_again(client: Client) -> None:
    connection.close()  # what other tests prepared goes with their connection
    for number in range(1, 5):
        deliver(client, number)
    statements = prepared()
    for part in (
        "INSERT INTO webhook_events",
        "INSERT INTO mint_events",
        "INSERT INTO tokens_s0",
        "UPDATE webhook_events",
    ):
        assert sum(part in statement for statement in statements) == 1, part
    assert Token.objects.count() == 4


def test_a_prepared_statement_is_planned_once(client: Client) -> None:
    connection.close()
    for number in range(1, 9):
        deliver(client, number)
    with connection.cursor() as cursor:
        cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        plans = cursor.fetchall()
    assert plans
    assert all(custom == 0 for _, custom in plans), plans


def test_the_connection_is_given_back_as_it_came() -> None:
    connection.ensure_connection()
    session = connection.connection
    before = session.cursor_factory, session.prepare_threshold
    with suppress(ZeroDivisionError), prepared_statements():
        assert (session.cursor_factory, session.prepare_threshold) != before
        raise ZeroDivisionError
    assert (session.cursor_factory, session.prepare_threshold) == before


def test_a_connection_that_breaks_meanwhile_is_replaced_afterwards() -> None:
    with prepared_statements():
        connection.close()
    assert isinstance(prepared(), list)
    with prepared_statements():
        assert isinstance(prepared(), list)
