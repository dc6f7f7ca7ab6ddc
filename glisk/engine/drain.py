"""A drain: a long-lived django-q2 task that moves rows, not one task per row.

A subclass says how rows are claimed and saved (`turn`); the base makes calls in threads, holds
the slot, waits for whatever comes first, and survives the database (see loop.py).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from django.utils import timezone

from glisk.engine.calls import CallResult, Calls
from glisk.engine.heartbeat import Heartbeat
from glisk.engine.loop import run_loop
from glisk.engine.owner import new_owner
from glisk.engine.slots import SlotKey
from glisk.engine.stop import StopFlag

__all__ = ["CallResult", "Drain", "run_drain"]


class Drain(ABC):
    """One stage's work. All methods run in the main thread; only submitted calls do not."""

    stage: ClassVar[str]
    # Each worker (supervisor) has one of its own; else there is one in all.
    one_per_worker: ClassVar[bool] = False
    channels: ClassVar[tuple[str, ...]] = ()
    # Kinds of call whose results nothing else waits for: they may wait for a fuller turn.
    patient: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self.owner = new_owner()
        self.in_flight = 0
        # Set when the drain ends: turn() must claim nothing new. Calls may read it as well.
        self.stopping = False
        self.heartbeat = Heartbeat(self.owner, os.getpid(), self.stage)
        self._calls: Calls | None = None

    @property
    def slot_key(self) -> SlotKey:
        """What this drain holds while it claims."""
        return SlotKey.of(self.stage, one_per_worker=self.one_per_worker)

    @property
    def threads(self) -> int:
        """How many calls may be under way at once."""
        return 1

    @property
    def longest_freeze_seconds(self) -> float | None:
        """After which time a frozen process must not wake up any more (engine.deadman)."""
        return None

    @property
    def gather_seconds(self) -> float:
        """How long a turn waits for more after the first has come (engine.gathering)."""
        return 0.0

    @property
    def awaited_notifications(self) -> int:
        """How many notifications make a group whole; 0: nobody knows."""
        return 0

    def prepare(self) -> None:  # noqa: B027 - a hook
        """Build clients and the like; called once, after the slot is taken."""

    @abstractmethod
    def turn(self, results: list[CallResult]) -> float | None:
        """Save the finished calls, claim rows, submit calls; all database work is done here.

        Return after how many seconds at most the next turn is wanted; None for the idle tick.
        A notification or a finished call ends the wait. If a turn fails, the next one gets the
        same results again, so saving them must bear repetition.
        """

    def release(self) -> None:  # noqa: B027 - a hook
        """Give back the claims that no call is under way for; may be called more than once.

        Never before `prepare` has ended well, which `close` has to bear.
        """

    def close(self) -> None:  # noqa: B027 - a hook
        """Close clients and the like; called once at the end."""

    def submit(self, kind: str, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` in a thread; a later turn gets it as a `CallResult`."""
        self.calls.submit(kind, key, function, *args)
        self.in_flight += 1

    def note_claim(self) -> None:
        """Stamp the heartbeat: rows were claimed."""
        self.heartbeat.last_claim_at = timezone.now()

    def note_progress(self) -> None:
        """Stamp the heartbeat: rows moved on."""
        self.heartbeat.last_progress_at = timezone.now()

    @property
    def calls(self) -> Calls:
        """The thread pool; made on first use, so that it follows `threads` as prepared."""
        if self._calls is None:
            self._calls = Calls(self.threads, self.stage, self.patient)
        return self._calls

    def close_calls(self) -> None:
        if self._calls is not None:
            self._calls.close()


def run_drain(drain_class: type[Drain], stop: StopFlag | None = None) -> int | None:
    """Run a drain to its end; the body of a django-q2 task.

    Returns how many calls it finished, and 0 at once when no slot is free. `stop` replaces the
    process's stop flag (for tests). Raises what `turn()` raised, once the calls under way are
    saved.
    """
    return run_loop(drain_class, stop)
