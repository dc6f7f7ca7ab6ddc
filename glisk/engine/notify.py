"""Wake the drains that listen on a channel, with the commit that gives them work."""

from django.db import connection


def notify(channel: str) -> None:
    """Notify `channel` inside the caller's transaction: the listeners hear of it at its commit.

    PostgreSQL sends equal notifications of one transaction once, so calling it per row is fine.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, '')", [channel])
