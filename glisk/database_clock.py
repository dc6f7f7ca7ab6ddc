"""The database's clock: the one that all processes share, whatever their machines think it is.

Rows carry its times, so ages are told by it. It is asked once a minute; in between it runs as the
clock that no sleep stops.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from django.db import connection

from glisk.clock import ClockReading, boot_seconds

_ASK_EVERY_SECONDS = 60.0

_reading: ClockReading | None = None


def database_clock() -> ClockReading:
    """Return what the database's clock showed, not longer ago than a minute."""
    global _reading
    found = _reading
    if found is None or boot_seconds() - found.read_at > _ASK_EVERY_SECONDS:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8")
            found = _reading = ClockReading(cursor.fetchone()[0], boot_seconds())
    return found


def database_now() -> datetime:
    """Return the time by the database's clock."""
    return datetime.fromtimestamp(database_clock().at(boot_seconds()), UTC)


def machine_ahead_seconds() -> float:
    """Return by how many seconds this machine's clock is ahead of the database's."""
    return time.time() - database_clock().at(boot_seconds())
