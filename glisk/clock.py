"""A clock that no sleep stops."""

import time

# Unlike the monotonic clock, it goes on while the machine is suspended (Linux).
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Return seconds since some moment in the past, suspended time included."""
    return time.clock_gettime(_CLOCK)
