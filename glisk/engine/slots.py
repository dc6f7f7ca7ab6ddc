"""Slots: session-level advisory locks that bound how many drains of a stage run at once.

PostgreSQL frees a slot when its connection ends, however its process died. Advisory locks
belong to the database, so several installations may share one server.
"""

from typing import Any
from zlib import crc32

import psycopg
from django.db import connection

from glisk.engine.owner import is_supervised, own_prefix


def _key(text: str) -> int:
    """Hash to a positive int4, so that pg_locks (which shows an oid) shows the same number."""
    return crc32(text.encode()) & 0x7FFFFFFF


def slot_is_free(stage: str, slots: int) -> bool:
    """Say whether it is worth to open a connection for a slot of `stage`.

    It only looks: trying the lock for a moment could keep the rightful successor out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            [_key(f"glisk:slot:{stage}")],
        )
        row = cursor.fetchone()
    return row is not None and int(row[0]) < slots


class Slot:
    """A taken slot; it is free again when released or when its connection ends."""

    def __init__(self, session: psycopg.Connection[Any], keys: list[tuple[int, int]]) -> None:
        self._session = session
        self._keys = keys

    def release(self) -> None:
        for key in self._keys:
            self._session.execute("SELECT pg_advisory_unlock(%s, %s)", key)
        self._keys = []


def take_slot(session: psycopg.Connection[Any], stage: str, slots: int) -> Slot | None:
    """Take a free slot of `stage` for as long as `session` lives; None if there is none.

    With several slots, a supervisor's tree gets one of them only: the others are meant for
    other machines, and drains must not take up all workers of one tree.
    """
    keys: list[tuple[int, int]] = []
    if slots > 1 and is_supervised():
        tree = (_key(f"glisk:tree:{stage}"), _key(own_prefix()))
        if not _try_lock(session, tree):
            return None
        keys.append(tree)
    for index in range(slots):
        key = (_key(f"glisk:slot:{stage}"), index)
        if _try_lock(session, key):
            return Slot(session, [*keys, key])
    Slot(session, keys).release()
    return None


def _try_lock(session: psycopg.Connection[Any], key: tuple[int, int]) -> bool:
    row = session.execute("SELECT pg_try_advisory_lock(%s, %s)", key).fetchone()
    return bool(row and row[0])
