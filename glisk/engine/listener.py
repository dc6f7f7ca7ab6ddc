"""A direct connection that hears notifications and holds a slot.

It is psycopg's own connection, beside Django's: a wait for notifications and a session lock
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


class Listener:
    """Listens on channels; raises `psycopg.OperationalError` when the connection is lost."""

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
