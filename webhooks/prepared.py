"""Let the server keep the plans of statements that come again with every delivery."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor

# A statement is prepared when it comes for the second time on a connection.
_PREPARE_AFTER = 1


@contextmanager
def prepared_statements() -> Iterator[None]:
    """Send parameters apart from the SQL and prepare what repeats, until the block ends.

    Django merges parameters into the SQL, so that PostgreSQL parses and plans each statement
    anew; for a mint that is a third of the server's work. The connection goes back to the pool
    as it came: other pages keep Django's way, which knows no ambiguous parameter types.

    Not for a connection through a pooler that knows no prepared statements (see DATABASE_URL).
    """
    connection.ensure_connection()
    session = connection.connection
    before = session.cursor_factory, session.prepare_threshold
    session.cursor_factory, session.prepare_threshold = ServerBindingCursor, _PREPARE_AFTER
    try:
        yield
    finally:
        session.cursor_factory, session.prepare_threshold = before
