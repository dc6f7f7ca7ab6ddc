"""Wake the drains that listen on a channel, with the commit that gives them work.

A listener is psycopg's own connection, beside Django's: a wait for notifications and a session lock
must not hang on a connection that Django closes and opens as it likes. Both need a direct
connection: a pooler in transaction mode (PgBouncer) breaks them.
"""

import select
from collections.abc import Iterable
from typing import Any

import psycopg
from django.db import connection
from psycopg import sql

# Django's own classes, which a plain connection does without.
_DJANGO_ONLY = ("cursor_factory", "context", "prepare_threshold")


def notify(channel: str) -> None:
    """Notify `channel` inside the caller's transaction: the listeners hear of it at its commit.

    PostgreSQL sends equal notifications of one transaction once, so calling it per row is fine.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [channel])


class Listener:
    """A direct connection that listens on channels and may hold a slot.

    Raises `psycopg.OperationalError` when the connection is lost.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        parameters: dict[str, Any] = dict(connection.get_connection_params())
        for name in _DJANGO_ONLY:
            parameters.pop(name, None)
        self.session: psycopg.Connection[Any] = psycopg.connect(**parameters, autocommit=True)
        try:
            for channel in channels:
                self.session.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except BaseException:
            self.session.close()
            raise

    def fileno(self) -> int:
        return self.session.fileno()

    def heard(self) -> int:
        """Return how many notifications came since the last call; never waits."""
        return len(list(self.session.notifies(timeout=0)))

    def is_readable(self) -> bool:
        """Tell whether `heard` has something to say; asking costs a tenth of it."""
        poll = select.poll()
        try:
            poll.register(self.session, select.POLLIN)
        except psycopg.Error:  # closed
            return True
        return bool(poll.poll(0))

    def is_alive(self) -> bool:
        try:
            self.session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def stop_listening(self) -> None:
        self.session.execute("UNLISTEN *")

    def close(self) -> None:
        self.session.close()
