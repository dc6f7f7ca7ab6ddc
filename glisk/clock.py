"""A clock that no sleep stops, and what other clocks showed by it."""

import time
from dataclasses import dataclass

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

    def ahead_of(self, other: "ClockReading") -> float:
        """Return by how many seconds it is ahead of another clock; below 0 it is behind."""
        return self.shown - other.at(self.read_at)
