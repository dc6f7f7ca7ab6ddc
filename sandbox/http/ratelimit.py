"""Count calls per minute, the ways that vendors do: in fixed windows, or by a bucket."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class RateLimit:
    """Allow so many calls in each minute.

    Without `burst` in windows of a minute, each of which opens with its first call; with it a
    bucket of so many calls, which fills evenly.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._opened_at = 0.0
        self._used = 0
        self._left: float | None = None  # of the bucket
        self._filled_at = 0.0
        self._resets_at = 0.0

    def allow(self, per_minute: int, burst: int = 0) -> bool:
        """Count a call; return whether it is within the limit. `per_minute` 0 is no limit."""
        if per_minute <= 0:
            return True
        return self._from_bucket(per_minute, burst) if burst else self._in_window(per_minute)

    def _in_window(self, per_minute: int) -> bool:
        now = self._clock()
        if now - self._opened_at >= WINDOW_SECONDS:
            self._opened_at, self._used = now, 0
        self._used += 1
        self._resets_at = self._opened_at + WINDOW_SECONDS
        return self._used <= per_minute

    def _from_bucket(self, per_minute: int, burst: int) -> bool:
        now, a_second = self._clock(), per_minute / WINDOW_SECONDS
        left = burst if self._left is None else self._left + (now - self._filled_at) * a_second
        left = min(float(burst), left)
        allowed = left >= 1.0
        self._left, self._filled_at = left - allowed, now
        self._resets_at = now + max(0.0, 1.0 - self._left) / a_second
        return allowed

    @property
    def resets_at(self) -> float:
        """Return when a call is allowed again after a refusal, in Unix seconds."""
        return self._resets_at
