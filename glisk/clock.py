"""The clocks: one that no sleep stops, the database's, and times that are kept as text.

All processes share the database's clock, whatever their machines think it is. Rows carry its
times, so ages are told by it. It is asked once a minute; in between it runs as the clock that no
sleep stops.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from glisk.timing import timing

# Unlike the monotonic clock, it goes on while the machine is suspended (Linux).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Return seconds since some moment in the past, suspended time included."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class ClockReading:
    """What a clock showed (seconds since 1970), and when that was (`boot_seconds`)."""

    shown: float
    read_at: float

    def at(self, moment: float) -> float:
        """Return what it shows at a moment (`boot_seconds`), if it runs as ours does."""
        return self.shown + moment - self.read_at

    def ahead_of(self, other: ClockReading) -> float:
        """Return by how many seconds it is ahead of another clock; below 0 it is behind."""
        return self.shown - other.at(self.read_at)


_reading: ClockReading | None = None


def database_clock() -> ClockReading:
    """Return what the database's clock showed, not longer ago than a minute."""
    global _reading
    found = _reading
    if found is None or boot_seconds() - found.read_at > timing.clock_asked:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8")
            found = _reading = ClockReading(cursor.fetchone()[0], boot_seconds())
    return found


def database_now() -> datetime:
    return datetime.fromtimestamp(database_clock().at(boot_seconds()), UTC)


def utc_midnight() -> datetime:
    return database_now().replace(hour=0, minute=0, second=0, microsecond=0)


def machine_ahead_seconds() -> float:
    return time.time() - database_clock().at(boot_seconds())


def read_moment(text: object) -> datetime | None:
    """Read a stored time (ISO 8601; without a zone it is UTC); None for anything else."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
