"""Wait for the others of a group of which the first has come.

Every turn of a drain has a price of its own, so things that come together are taken together.
Calls that begin together end together: to wait for the whole of a group also keeps it whole,
while a mere distance between turns lets it fall apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_STEP_SECONDS = 0.01
# So many times the window, results may wait that nothing else waits for.
_PATIENCE = 4


@dataclass
class Came:
    """What has come since the last turn."""

    heard: int  # notifications
    results: int  # of calls
    urgent: int  # results among them that something else waits for


@dataclass
class Expected:
    """What a group may consist of; 0 notifications: nobody knows how many."""

    notifications: int
    results: int

    def is_met(self, came: Came) -> bool:
        if came.heard:
            return 0 < self.notifications <= came.heard
        return came.results >= self.results


def gather(window: float, expected: Expected, look: Callable[[], Came]) -> None:
    """Return when a group is whole, or has been waited for long enough.

    From the first notification or urgent result on `window` seconds; twice that while more keeps
    coming, or while the most of the notifications is missing, so that groups that fell apart come
    together again. For results that are not urgent `_PATIENCE` windows. `look` counts from the
    last turn on.
    """
    began = time.monotonic()
    urgent_at: float | None = None
    before = Came(0, 0, 0)
    changed_at = began
    while True:
        came, now = look(), time.monotonic()
        if expected.is_met(came):
            return
        if came != before:
            before, changed_at = came, now
        if urgent_at is None and (came.heard or came.urgent):
            urgent_at = now
        if urgent_at is None:
            ends = began + _PATIENCE * window
        elif came.heard and 2 * came.heard < expected.notifications:
            ends = urgent_at + 2 * window
        else:
            calm = max(urgent_at + window, changed_at + _STEP_SECONDS)
            ends = min(calm, urgent_at + 2 * window)
        if now >= ends:
            return
        time.sleep(min(_STEP_SECONDS, ends - now))
