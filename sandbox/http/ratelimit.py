"""Count calls per minute, the way vendors with fixed windows do."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class RateLimit:
    """Allow so many calls in each minute; the window opens with its first call."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._opened_at = 0.0
        self._used = 0

    def allow(self, per_minute: int) -> bool:
        """Count a call; return whether it is within the limit. 0 is no limit."""
        if per_minute <= 0:
            return True
        now = self._clock()
        if now - self._opened_at >= WINDOW_SECONDS:
            self._opened_at, self._used = now, 0
        self._used += 1
        return self._used <= per_minute

    def remaining(self, per_minute: int) -> int:
        """Return how many calls the window has left."""
        return max(0, per_minute - self._used)

    @property
    def resets_at(self) -> float:
        """Return when the window ends, in Unix seconds."""
        return self._opened_at + WINDOW_SECONDS
