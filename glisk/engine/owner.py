"""Who holds what: a lease is held by an owner's name, a slot by a session of the database.

An owner is `host:main pid:pid:8 hex digits`, unique per drain run. A slot is a session-level
advisory lock, which lets one drain of a kind run at a time. PostgreSQL frees it when its connection
ends, however its process died. Advisory locks belong to the database, so several installations may
share one server.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import psycopg
from django.db import connection

# The inode number that Linux gives to its first PID namespace (PROC_PID_INIT_INO).
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

_main_pid: int | None = None


@lru_cache(maxsize=1)
def host_name() -> str:
    """Return a name under which process ids are comparable.

    In a container it carries the PID namespace: two containers may share a host name, and
    process 7 of one is not process 7 of the other.
    """
    name = socket.gethostname()[:80]
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return name if namespace == _INITIAL_PID_NAMESPACE else f"{name}.{namespace}"


def set_main_pid(pid: int) -> None:
    """Make `pid` the supervisor of this process and of all that it forks."""
    global _main_pid
    _main_pid = pid


def main_pid() -> int:
    """Return the supervisor's pid; outside of a supervisor, this process's own."""
    return os.getpid() if _main_pid is None else _main_pid


def is_supervised() -> bool:
    return _main_pid is not None


def owner_prefix(host: str, main_pid: int) -> str:
    """Return what every owner of one supervisor's processes begins with."""
    return f"{host}:{main_pid}:"


def own_prefix() -> str:
    return owner_prefix(host_name(), main_pid())


def new_owner() -> str:
    return f"{own_prefix()}{os.getpid()}:{secrets.token_hex(4)}"


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
