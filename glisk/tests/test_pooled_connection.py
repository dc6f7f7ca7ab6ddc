"""The pool notices connections that the server ended, without asking it each time."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from glisk.database.pooled_connection import PooledConnection
from glisk.tests.database import database_url

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool() -> Iterator["ConnectionPool[PooledConnection]"]:
    made: ConnectionPool[PooledConnection] = ConnectionPool(
        database_url(),
        connection_class=PooledConnection,
        kwargs={"autocommit": True},
        min_size=1,
        max_size=1,
        check=ConnectionPool.check_connection,
        open=True,
    )
    with made:
        yield made


def test_a_sound_connection_is_not_asked(
    pool: "ConnectionPool[PooledConnection]", monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool.connection() as first:
        first.execute("SELECT 1")
    sent: list[object] = []
    real = psycopg.Cursor.execute

    def note(cursor: psycopg.Cursor[Any], query: Any, *rest: Any, **options: Any) -> Any:
        sent.append(query)
        return real(cursor, query, *rest, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", note)
    with pool.connection() as again:
        assert again is first
        assert sent == []
        assert again.execute("SELECT 2").fetchone() == (2,)


def test_a_connection_that_the_server_ended_is_replaced(
    pool: "ConnectionPool[PooledConnection]",
) -> None:
    with pool.connection() as first:
        pid = first.info.backend_pid
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            time.sleep(0.01)
    with pool.connection(timeout=10) as second:
        assert second.info.backend_pid != pid
        assert second.execute("SELECT 3").fetchone() == (3,)
