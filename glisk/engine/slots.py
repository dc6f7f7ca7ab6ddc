"""Slots: session-level advisory locks that let one drain of a kind run at a time.

PostgreSQL frees a slot when its connection ends, however its process died. Advisory locks
belong to the database, so several installations may share one server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import psycopg
from django.db import connection

from glisk.engine.owner import own_prefix


def _key(text: str) -> int:
    """Hash to a positive int4, so that pg_locks (which shows an oid) shows the same number."""
    return crc32(text.encode()) & 0x7FFFFFFF


@dataclass(frozen=True)
class SlotKey:
    """Which lock it is: one in all for a stage, or one for each worker (supervisor)."""

    stage: int
    worker: int

    @classmethod
    def of(cls, stage: str, *, one_per_worker: bool) -> SlotKey:
        return cls(_key(f"glisk:slot:{stage}"), _key(own_prefix()) if one_per_worker else 0)

    @property
    def pair(self) -> tuple[int, int]:
        return self.stage, self.worker


def slot_is_free(key: SlotKey) -> bool:
    """Say whether it is worth to open a connection for a slot.

    It only looks: trying the lock for a moment could keep the rightful successor out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 2
              AND classid = %s AND objid = %s
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            key.pair,
        )
        row = cursor.fetchone()
    return row is not None and int(row[0]) == 0


class Slot:
    """A taken slot; it is free again when released or when its connection ends."""

    def __init__(self, session: psycopg.Connection[Any], key: SlotKey) -> None:
        self._session = session
        self._key: SlotKey | None = key

    def release(self) -> None:
        if self._key is not None:
            self._session.execute("SELECT pg_advisory_unlock(%s, %s)", self._key.pair)
            self._key = None


def take_slot(session: psycopg.Connection[Any], key: SlotKey) -> Slot | None:
    """Take a slot for as long as `session` lives; None if it is taken."""
    row = session.execute("SELECT pg_try_advisory_lock(%s, %s)", key.pair).fetchone()
    return Slot(session, key) if row and row[0] else None
