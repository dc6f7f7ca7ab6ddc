"""Let the server keep the plans of statements that come again with every delivery.

Here for `single_per_s` of the benchmark `webhook_intake`: without it PostgreSQL takes nearly twice
the CPU for a mint.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.backends.postgresql.base import ServerBindingCursor

_PREPARE_AFTER = 1  # executions on a connection


@contextmanager
def prepared_statements() -> Iterator[None]:
    """Send parameters apart from the SQL, and prepare what repeats, until the block ends.

    Django merges parameters into the SQL, so that PostgreSQL parses and plans each statement anew.
    Not for a pooler that knows no prepared statements (see DATABASE_URL).
    """
    connection.ensure_connection()
    session = connection.connection
    before = session.cursor_factory, session.prepare_threshold
    session.cursor_factory, session.prepare_threshold = ServerBindingCursor, _PREPARE_AFTER
    try:
        yield
    finally:
        session.cursor_factory, session.prepare_threshold = before
