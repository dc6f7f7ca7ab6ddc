"""Let the server keep the plans of statements that come again with every delivery."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor

# A statement is prepared when it comes for the second time on a connection.
_PREPARE_AFTER = 1
# Sessions that plan a prepared statement once. By itself PostgreSQL plans the insert of tokens
# anew each time, because it takes 1,000 of them for likely.
_sessions: WeakSet[Any] = WeakSet()


@contextmanager
def prepared_statements() -> Iterator[None]:
    """Send parameters apart from the SQL and prepare what repeats, until the block ends.

    Django merges parameters into the SQL, so that PostgreSQL parses and plans each statement
    anew; for a mint that is a third of the server's work. Afterwards the connection is Django's
    as before, so that other pages keep its way, which knows no ambiguous parameter types.

    Not for a connection through a pooler that knows no prepared statements (see DATABASE_URL).
    """
    connection.ensure_connection()
    session = connection.connection
    if session not in _sessions:
        with connection.wrap_database_errors:
            session.execute("SET plan_cache_mode = force_generic_plan")
        _sessions.add(session)
    before = session.cursor_factory, session.prepare_threshold
    session.cursor_factory, session.prepare_threshold = ServerBindingCursor, _PREPARE_AFTER
    try:
        yield
    finally:
        session.cursor_factory, session.prepare_threshold = before
