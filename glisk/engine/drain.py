"""A drain: a long-lived django-q2 task that moves rows, not one task per row.

A subclass says how rows are claimed and saved (`turn`); steps do (glisk/engine/step.py). The base
makes calls in threads, holds the slot, waits for whatever comes first, and survives what happens to
the database.
"""

from __future__ import annotations

import os
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone
from django_q.signals import pre_execute

from glisk.engine.broker import Listener, enqueue_here
from glisk.engine.calls import CallResult, Calls
from glisk.engine.gathering import Came, Expected, gather
from glisk.engine.heartbeat import BEAT_SECONDS, Heartbeat
from glisk.engine.owner import Slot, SlotKey, new_owner, slot_is_free, take_slot
from glisk.engine.process import DeadMan, StopFlag, process_stop_flag

__all__ = ["CallResult", "Drain", "run_drain"]

logger = structlog.get_logger(__name__)

# Only the net below notifications; with the heartbeat's rhythm, an idle drain wakes up once.
IDLE_TICK_SECONDS = BEAT_SECONDS
_LEAST_GAP_SECONDS = 0.005
_LONGEST_BACKOFF_SECONDS = 2.0
_BACKOFF_WHEN_STOPPING_SECONDS = 0.2
_DATABASE_ERRORS = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)


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
        """After which time a frozen process must not wake up any more (`DeadMan`)."""
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
    """Run a drain to its end, if it is wanted and a slot is free; the body of a django-q2 task.

    Returns how many calls it finished, and 0 at once when no slot is free. `stop` replaces the
    process's stop flag (for tests). Raises what `turn()` raised, once the calls under way are
    saved.
    """
    stop = stop or process_stop_flag()
    drain = drain_class()
    if stop.is_set() or not slot_is_free(drain.slot_key):
        return 0
    with structlog.contextvars.bound_contextvars(stage=drain.stage, drain=drain.owner):
        listener = Listener(drain.channels)
        try:
            slot = take_slot(listener.session, drain.slot_key)
            if slot is None:
                return 0
            loop = _Loop(drain, stop, listener, slot)
            deadman = _deadman_of(drain)
            try:
                loop.work()
            finally:
                loop.end()
                if deadman is not None:
                    deadman.stop()
            return loop.finished
        finally:
            listener.close()


def _deadman_of(drain: Drain) -> DeadMan | None:
    if drain.longest_freeze_seconds is None:
        return None
    deadman = DeadMan(drain.longest_freeze_seconds)
    return deadman if deadman.start() else None


class _Loop:
    def __init__(self, drain: Drain, stop: StopFlag, listener: Listener, slot: Slot) -> None:
        self.finished = 0
        self._drain = drain
        self._stop = stop
        self._listener = listener
        self._slot: Slot | None = slot
        self._budget_ends = time.monotonic() + settings.DRAIN_BUDGET_SECONDS
        self._next_beat = 0.0
        self._turn_ended = 0.0
        self._notifications = 0  # since the last turn
        self._prepared = False
        self._failures = 0

    def work(self) -> None:
        """Prepare, then turn until the stop flag or the budget ends it and no call is under way."""
        drain = self._drain
        drain.prepare()
        self._prepared = True
        undelivered: list[CallResult] = []
        logger.info("drain_started")
        while True:
            if not drain.stopping:
                self._notice_end()
            undelivered += self._collect()
            if drain.stopping and not undelivered and not drain.in_flight:
                break
            try:
                self._beat()
                tick = drain.turn(undelivered)
            except _DATABASE_ERRORS as error:
                self._reconnect(error, unsaved=len(undelivered))
                continue
            except Exception:
                logger.exception("turn_failed")
                self._salvage(undelivered)
                raise
            self._failures = 0
            undelivered = []
            self._turn_ended = time.monotonic()
            self._notifications = 0
            if drain.in_flight or not drain.stopping:
                self._wait(IDLE_TICK_SECONDS if tick is None else tick)
        logger.info("drain_ended", finished=self.finished)

    def end(self) -> None:
        """Give everything back; what the database does not hear of, its timeouts will mend."""
        try:
            if self._prepared:
                self._drain.release()
            self._release_slot()
            self._drain.heartbeat.remove(self._listener.session.execute)
        except _DATABASE_ERRORS as error:
            logger.warning("drain_release_failed", error=str(error))
        finally:
            self._drain.close_calls()
            self._listener.close()
            self._drain.close()

    def _notice_end(self) -> None:
        if self._stop.is_set():
            self._drain.stopping = True
            hand_over = False
        elif time.monotonic() >= self._budget_ends:
            self._drain.stopping = True
            hand_over = True
        else:
            return
        try:
            self._drain.release()
            self._listener.stop_listening()
            if hand_over:
                # First of all: the successor claims while the last calls of this one finish.
                self._release_slot()
                _enqueue_successor()
        except _DATABASE_ERRORS as error:
            logger.warning("hand_over_failed", error=str(error))  # the schedule starts the next

    def _release_slot(self) -> None:
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def _collect(self) -> list[CallResult]:
        results = self._drain.calls.finished()
        self._drain.in_flight -= len(results)
        self.finished += len(results)
        return results

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._drain.heartbeat.in_flight = self._drain.in_flight
        self._drain.heartbeat.write(self._listener.session.execute)
        self._next_beat = now + BEAT_SECONDS

    def _wait(self, seconds: float) -> None:
        """Wait for a notification, a finished call or the stop flag, at most `seconds`."""
        poll = select.poll()
        poll.register(self._drain.calls, select.POLLIN)
        if not self._drain.stopping:
            poll.register(self._stop, select.POLLIN)
            poll.register(self._listener, select.POLLIN)
            if self._heard():  # during the turn: the next group has begun
                self._gather()
                return
            seconds = min(seconds, self._budget_ends - time.monotonic())
        ready = poll.poll(max(0.0, min(seconds, BEAT_SECONDS)) * 1000)
        if ready and not self._stop.is_set():
            self._gather()

    def _gather(self) -> None:
        window = self._drain.gather_seconds
        gap = self._turn_ended + _LEAST_GAP_SECONDS - time.monotonic()
        if gap > 0:
            time.sleep(gap)
        self._look()
        if window > 0:
            expected = Expected(self._drain.awaited_notifications, self._drain.in_flight)
            gather(window, expected, self._look)

    def _look(self) -> Came:
        calls = self._drain.calls
        if not self._drain.stopping and self._listener.is_readable():
            self._heard()
        return Came(self._notifications, calls.waiting, calls.urgent)

    def _heard(self) -> bool:
        """Take the notifications that have come; tell whether any came since the last turn."""
        try:
            self._notifications += self._listener.heard()
        except psycopg.Error:
            self._next_beat = 0.0  # the heartbeat meets the lost connection, and its handling
            self._notifications += 1
        return self._notifications > 0

    def _reconnect(self, error: Exception, *, unsaved: int) -> None:
        """Come back to the database and to the slot; results wait, and calls go on."""
        drain = self._drain
        logger.warning(
            "database_lost", error=str(error).strip(), unsaved=unsaved, in_flight=drain.in_flight
        )
        connections.close_all()
        self._next_beat = 0.0
        while True:
            self._pause()
            if self._listener.is_alive():
                return  # only Django's connection was lost, or a statement was refused
            self._listener.close()
            self._slot = None
            if self._stop.is_set() and not unsaved and not drain.in_flight:
                drain.stopping = True
                return
            try:
                self._listener = Listener(() if drain.stopping else drain.channels)
            except psycopg.OperationalError:
                continue
            if not drain.stopping:
                self._retake_slot()
            logger.info("database_back")
            return

    def _retake_slot(self) -> None:
        self._slot = take_slot(self._listener.session, self._drain.slot_key)
        if self._slot is None:
            logger.warning("slot_lost")  # another drain claims now; this one only finishes
            self._drain.stopping = True

    def _pause(self) -> None:
        delay = min(_LONGEST_BACKOFF_SECONDS, 0.05 * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        if self._stop.is_set():
            time.sleep(min(delay, _BACKOFF_WHEN_STOPPING_SECONDS))
        else:
            self._stop.wait(delay)

    def _salvage(self, undelivered: list[CallResult]) -> None:
        """Save what is under way one by one, so that one poison result costs no other.

        The slot stays taken: a successor would only meet the same fault.
        """
        drain = self._drain
        drain.stopping = True
        pending = list(undelivered)
        while pending or drain.in_flight:
            for result in pending:
                try:
                    drain.turn([result])
                except Exception:
                    logger.exception("result_not_saved", kind=result.kind, key=str(result.key))
            if drain.in_flight:
                self._wait(BEAT_SECONDS)
            pending = self._collect()


# Which task this worker runs, so that a drain can enqueue its own successor.
_current: str | None = None


def _remember(sender: Any, func: Any, task: dict[str, Any], **kwargs: Any) -> None:
    global _current
    _current = task["func"] if isinstance(task.get("func"), str) else None


pre_execute.connect(_remember, dispatch_uid="glisk.engine.drain")


def _enqueue_successor() -> bool:
    """Enqueue the task that runs here once more, for this worker; False outside of a task."""
    if _current is None:
        return False
    enqueue_here(_current)
    return True
