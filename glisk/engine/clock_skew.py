"""Clocks that differ from the database's, which all ages are told by: shown to operators."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from glisk.clock import machine_ahead_seconds
from glisk.engine.alarms import end_alarm, raise_alarm
from glisk.engine.owner import host_name

logger = structlog.get_logger(__name__)

TOLERATED_SECONDS = 10.0
NOTE_EVERY_SECONDS = 60.0
_REMEMBERED_SECONDS = 300.0
_ADVICE = "Have the machines' clocks set by NTP. Nothing is decided by this one."


@dataclass(frozen=True)
class ClockSkew:
    """A clock and the seconds that it is ahead of the database's; below 0 it is behind."""

    whose: str
    ahead_seconds: float

    @property
    def is_tolerable(self) -> bool:
        return abs(self.ahead_seconds) < TOLERATED_SECONDS

    def __str__(self) -> str:
        side = "ahead of" if self.ahead_seconds > 0 else "behind"
        return f"{self.whose}'s clock is {abs(self.ahead_seconds):.0f} s {side} the database's"


def machine_skew() -> ClockSkew:
    """Return how this machine's clock differs."""
    return ClockSkew(host_name(), machine_ahead_seconds())


def note_clock(skew: ClockSkew) -> None:
    """Show a difference to operators until it is over; to be told once a minute."""
    name = f"clock_{skew.whose}"[:80]
    if skew.is_tolerable:
        end_alarm(name)
        return
    logger.warning("clock_differs", clock=skew.whose, ahead_seconds=round(skew.ahead_seconds, 1))
    raise_alarm(name, headline=str(skew), advice=_ADVICE, lasts_seconds=_REMEMBERED_SECONDS)
