"""Migrations build indexes beside writes, and a second try succeeds whatever the first one left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from django.db import IntegrityError, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.models import Index
from django.utils import timezone

from authors.models import SpentMessage
from glisk.database.index_operations import BuildIndex
from glisk.tests.database import database_url

NAME = "spent_message_of_a_test"
INSERT = "INSERT INTO spent_messages (digest, expires_at) VALUES (%s, now())"


def build() -> None:
    operation = BuildIndex("spentmessage", Index(fields=["expires_at"], name=NAME))
    before = MigrationLoader(None).project_state()
    after = before.clone()
    operation.state_forwards("authors", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("authors", editor, before, after)


def state() -> tuple[bool, int] | None:
    """Return whether the index is valid, and which one it is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid, indexrelid FROM pg_index WHERE indexrelid = to_regclass(%s)", [NAME]
        )
        row: tuple[bool, int] | None = cursor.fetchone()
    return row


def is_valid() -> bool:
    found = state()
    return found is not None and found[0]


@pytest.fixture
def no_index(transactional_db: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {NAME}")


def test_a_build_that_waits_holds_no_write_up(no_index: None) -> None:
    """It waits for the transactions that are open; under a lock, all others would wait for it."""
    done = threading.Event()

    def build_and_close() -> None:
        build()
        connections.close_all()
        done.set()

    with psycopg.connect(database_url()) as old:
        old.execute(INSERT, ["old"])
        builder = threading.Thread(target=build_and_close)
        builder.start()
        with psycopg.connect(database_url(), autocommit=True) as other:
            other.execute("SET lock_timeout = '20s'")
            while not other.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event_type = 'Lock'"
            ).fetchone():
                assert builder.is_alive() and not done.is_set()
            other.execute(INSERT, ["other"])  # while it waits
            assert not done.is_set()
        old.commit()
    builder.join()
    assert is_valid()
    assert SpentMessage.objects.count() == 2


def test_what_a_failed_build_has_left_is_replaced(no_index: None) -> None:
    moment = timezone.now() + timedelta(days=1)
    for digest in "ab":
        SpentMessage.objects.create(digest=digest, expires_at=moment)
    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {NAME} ON spent_messages (expires_at)")
    assert state() is not None
    assert not is_valid()
    build()
    assert is_valid()
    stands = state()
    build()  # what stands is kept
    assert state() == stands
