"""A drain: a long-lived django-q2 task that moves rows by its steps, not one task per row.

A subclass names its steps. The base lets them claim, makes their calls in threads, has them settle
what came of these, renews leases, holds the slot, waits for whatever comes first, and survives what
happens to the database.
"""

from __future__ import annotations

import os
import select
import time
from abc import ABC
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, nullcontext
from functools import cached_property
from typing import Any, ClassVar
from zlib import crc32

import psycopg
import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections
from django.utils import timezone

from glisk.breaker import Breaker
from glisk.engine.broker import Listener, enqueue_here, notify
from glisk.engine.heartbeat import Heartbeat, new_owner, own_prefix
from glisk.engine.process import DeadMan, Flag, process_stop_flag
from glisk.engine.step import CallResult, Calls, Done, Failed, Step
from glisk.timing import timing

logger = structlog.get_logger(__name__)

_RECONNECT_SECONDS = 0.5
_DATABASE_ERRORS = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)
# Under load (from so much under way on), rare work is looked for this often only.
MANY_CALLS = 5
_LEAST_WAIT_SECONDS = 0.05
# Of what comes together: from this load on, all of `timing.gathering` is waited for it.
_MUCH_LOAD = 16
_LOOK_AGAIN_SECONDS = 0.005


class Drain(ABC):
    """One stage's work. All methods run in the main thread; only the steps' calls do not.

    Its steps begin in their order and are settled in the reverse one: what is paid for comes first.
    """

    stage: ClassVar[str]
    # The function of the task queue that runs it: what a drain enqueues as its successor.
    task: ClassVar[str]
    # Each worker (supervisor) has one of its own; else there is one in all.
    one_per_worker: ClassVar[bool] = False
    channels: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.owner = new_owner()
        self.steps: Sequence[Step[Any, Any]] = ()
        # Set when the drain ends: turn() must claim nothing new.
        self.stopping = False
        self.heartbeat = Heartbeat(self.owner, os.getpid(), self.stage)
        self._renewed_at = time.monotonic()
        self._looked_at = self._renewed_at - timing.rare_look
        self._unsure = False
        self._due_in: float | None = None
        self._probes: list[tuple[Breaker, Any]] = []  # each with the work that is its call

    def prepare(self) -> None:  # noqa: B027 - a hook
        """Build the steps and what they need; called once, after the slot is taken."""

    def survey(self) -> None:  # noqa: B027 - a hook
        """Read what the steps go by, before any of them claims."""

    def renew(self, ids: Collection[int]) -> None:  # noqa: B027 - a hook
        """Prolong this owner's leases of these rows by LEASE_SECONDS."""

    def free_all_but(self, ids: Collection[int]) -> None:  # noqa: B027 - a hook
        """Free all rows of this owner but these, whose calls are under way."""

    @property
    def longest_freeze_seconds(self) -> float | None:
        """After which time a frozen process must not wake up any more (`DeadMan`)."""
        return None

    @property
    def load(self) -> int:
        """How much is under way, or waited for."""
        return self.in_flight

    @classmethod
    def slot_key(cls) -> tuple[int, int]:
        """What this drain holds while it claims: one lock in all, or one for each worker."""
        worker = _lock_number(own_prefix()) if cls.one_per_worker else 0
        return _lock_number(f"glisk:slot:{cls.stage}"), worker

    @classmethod
    def slot_is_free(cls) -> bool:
        """Say whether it is worth to begin: to try the lock could keep a successor out."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT count(*) = 0 FROM pg_locks
                WHERE locktype = 'advisory' AND granted AND objsubid = 2
                  AND classid = %s AND objid = %s
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                """,
                cls.slot_key(),
            )
            return bool(cursor.fetchone()[0])

    @classmethod
    def start_if_missing(cls) -> None:
        """Enqueue it for a process of this worker, unless one runs already."""
        if cls.slot_is_free():
            enqueue_here(cls.task)

    @property
    def threads(self) -> int:
        """The sum of the places: slow calls of one step must not delay those of another."""
        return sum(step.most for step in self.steps)

    @cached_property
    def calls(self) -> Calls:
        """The thread pool; made on first use, so that it follows `threads` as prepared."""
        return Calls(self.threads, self.stage)

    @property
    def in_flight(self) -> int:
        return self.calls.under_way

    def submit(self, kind: str, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` in a thread; a later turn gets it as a `CallResult`."""
        self.calls.submit(kind, key, function, *args)

    def turn(self, results: list[CallResult]) -> float | None:
        """Settle the finished calls, claim rows, submit calls; all database work is done here.

        Return after how many seconds at most the next turn is wanted; None for the idle tick. If a
        turn fails, the next one gets the same results again.
        """
        for step in reversed(self.steps):
            self._settle(step, results)
        if not self.stopping:
            self._begin(answered=len(results))
        elif results:
            for channel in self.channels:  # what was settled here is for others to go on with
                notify(channel)
        self._give_probes_back()
        return self._next_turn_seconds()

    def _settle(self, step: Step[Any, Any], results: Sequence[CallResult]) -> None:
        """Settle a step's results; one that comes a second time is not under way any more."""
        fresh = [r for r in results if r.kind == step.name and _holds(step.under_way, r.key)]
        if not fresh:
            return
        step.settle(
            [Done(r.key, r.value) for r in fresh if r.error is None],
            [Failed(r.key, r.error) for r in fresh if r.error is not None],
        )
        step.under_way = [w for w in step.under_way if not _holds([r.key for r in fresh], w)]
        self.heartbeat.last_progress_at = timezone.now()

    def _begin(self, *, answered: int) -> None:
        if self._unsure:  # a claim may have been committed without our hearing of it
            self.free_all_but(self._leased())
        self._unsure = True
        self.survey()
        looks = self._looks_around(answered)
        for step in self.steps:
            if step.paused_for or (step.rare and not looks):
                continue
            places = min(step.places(), step.most - len(step.under_way))
            works = step.claim(places) if places > 0 else ()
            if works:
                self.heartbeat.last_claim_at = timezone.now()
            step.under_way += works
            self._probes += [(b, w) for w in works for b in step.asks(w) if b.probing]
            for work in works:
                self.submit(step.name, work, step.call, work)
            if step.has_put_off:
                step.has_put_off = False
                self._due_in = _LEAST_WAIT_SECONDS  # the next survey tells until when
        self._unsure = False

    def _give_probes_back(self) -> None:
        """Give each probe back that no call is made for, or whose settlement told nothing of it."""
        under_way = [work for step in self.steps for work in step.under_way]
        self._probes = [(b, w) for b, w in self._probes if b.probing and _holds(under_way, w)]
        used = [breaker for breaker, _ in self._probes]
        for breaker in {breaker for step in self.steps for breaker in step.breakers}:
            if breaker.probing and breaker not in used:
                breaker.give_probe_back()

    def _looks_around(self, answered: int) -> bool:
        """Tell whether to look for rare work, and ask what falls due.

        Before the claims: what falls due while they run must not be overlooked.
        """
        now = time.monotonic()
        left = self._looked_at + timing.rare_look - now
        if self.load + answered >= MANY_CALLS and left > 0:
            self._due_in = left
            return False
        self._looked_at = now
        waits = [step.paused_for or step.due_in() for step in self.steps]
        known = [wait for wait in waits if wait is not None]
        self._due_in = max(_LEAST_WAIT_SECONDS, min(known)) if known else None
        return True

    def _leased(self) -> list[int]:
        return [pk for step in self.steps for work in step.under_way for pk in step.leased(work)]

    def _next_turn_seconds(self) -> float | None:
        """Renew the leases of what is under way; return when to look again at the latest."""
        every = settings.LEASE_SECONDS / 3
        ids = self._leased()
        if ids and time.monotonic() - self._renewed_at >= every:
            self.renew(ids)
            self._renewed_at = time.monotonic()
        waits = [None if self.stopping else self._due_in, every if ids else None]
        return min((wait for wait in waits if wait is not None), default=None)

    def release(self) -> None:
        """Free what no call is under way for: a lost claim, and at the end what was not saved."""
        if self._unsure or not self.in_flight:
            self.free_all_but(self._leased() if self.in_flight else ())

    def close(self) -> None:
        """Close threads, clients and the like, whether or not `prepare` has ended well."""
        self.calls.close()
        for step in self.steps:
            step.close()


def _holds(works: Sequence[Any], work: Any) -> bool:
    """Tell whether this very piece of work is among them: equal ones may be of another claim."""
    return any(each is work for each in works)


def run_drain(
    make_drain: Callable[[], Drain],
    stop: Flag | None = None,
    *,
    budget_seconds: float | None = None,
) -> int:
    """Run a drain to its end, if a slot is free; the body of a django-q2 task.

    Returns how many calls it finished. Outside of a worker `stop` replaces the process's stop flag,
    and `budget_seconds` DRAIN_BUDGET_SECONDS, after which a drain enqueues its successor. Raises
    what `turn()` raised, once the calls under way are saved.
    """
    stop = stop or process_stop_flag()
    drain = make_drain()
    if stop.is_set() or not drain.slot_is_free():
        return 0
    limit = drain.longest_freeze_seconds
    with (
        structlog.contextvars.bound_contextvars(stage=drain.stage, drain=drain.owner),
        closing(_Loop(drain, stop, budget_seconds or settings.DRAIN_BUDGET_SECONDS)) as loop,
    ):
        if loop.take_slot():
            with DeadMan(limit) if limit is not None else nullcontext():
                loop.work()
        return loop.finished


# A slot lets one drain of a kind run at a time: a session-level advisory lock, which PostgreSQL
# frees when its connection ends, however its process died. Advisory locks belong to the database,
# so several installations may share one server.
def _lock_number(text: str) -> int:  # positive, as pg_locks shows it
    return crc32(text.encode()) & 0x7FFFFFFF


class _Loop:
    """A drain's turns, and the connection that holds its slot and hears what wakes it."""

    def __init__(self, drain: Drain, stop: Flag, budget_seconds: float) -> None:
        self.finished = 0
        self._drain = drain
        self._stop = stop
        self._listener = Listener(drain.channels)
        self._holds_slot = False
        self._budget_ends = time.monotonic() + budget_seconds
        self._next_beat = 0.0

    def take_slot(self) -> bool:
        """Take the slot for as long as the listener's session lives; False if it is taken."""
        query = "SELECT pg_try_advisory_lock(%s, %s)"
        row = self._listener.session.execute(query, self._drain.slot_key()).fetchone()
        self._holds_slot = row == (True,)
        return self._holds_slot

    def work(self) -> None:
        """Prepare, turn until the end, and give everything back whatever happens."""
        drain, prepared = self._drain, False
        try:
            drain.prepare()
            prepared = True
            logger.info("drain_started")
            self._turn_until_ended()
            logger.info("drain_ended", finished=self.finished)
        finally:
            try:
                if prepared:
                    drain.release()
                self._release_slot()
                drain.heartbeat.remove(self._listener.session.execute)
            except _DATABASE_ERRORS as error:
                logger.warning("drain_release_failed", error=str(error))
            finally:
                drain.close()

    def close(self) -> None:
        self._listener.close()

    def _turn_until_ended(self) -> None:
        drain = self._drain
        undelivered: list[CallResult] = []
        while True:
            if not drain.stopping:
                self._notice_end()
            undelivered += self._collect()
            if drain.stopping and not undelivered and not drain.in_flight:
                return
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
            undelivered = []
            if drain.in_flight or not drain.stopping:
                self._wait(timing.beat if tick is None else tick)

    def _notice_end(self) -> None:
        is_over = time.monotonic() >= self._budget_ends
        if not is_over and not self._stop.is_set():
            return
        self._drain.stopping = True
        try:
            self._drain.release()
            self._listener.session.execute("UNLISTEN *")
            if not self._stop.is_set():
                # First of all: the successor claims while the last calls of this one finish.
                self._release_slot()
                enqueue_here(self._drain.task)
        except _DATABASE_ERRORS as error:
            logger.warning("hand_over_failed", error=str(error))  # the schedule starts the next

    def _release_slot(self) -> None:
        if self._holds_slot:
            key = self._drain.slot_key()
            self._listener.session.execute("SELECT pg_advisory_unlock(%s, %s)", key)
            self._holds_slot = False

    def _collect(self) -> list[CallResult]:
        results = self._drain.calls.finished()
        self.finished += len(results)
        return results

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._drain.heartbeat.in_flight = self._drain.in_flight
            self._drain.heartbeat.write(self._listener.session.execute)
            self._next_beat = now + timing.beat

    def _wait(self, seconds: float) -> None:
        """Wait for a notification, a finished call or the stop flag, at most `seconds`.

        A turn costs milliseconds, however little it finds. So what comes together is waited for:
        by load up to 80 ms, or until all has come. It takes half of the statements of `mint_many`
        away; a lone token waits for nobody.
        """
        calls = self._drain.calls
        heard = self._heard()  # during the turn
        if not heard:
            poll = select.poll()
            poll.register(calls, select.POLLIN)
            if not self._drain.stopping:
                poll.register(self._stop, select.POLLIN)
                poll.register(self._listener, select.POLLIN)
                seconds = min(seconds, self._budget_ends - time.monotonic())
            if not poll.poll(max(0.0, min(seconds, timing.beat)) * 1000) or self._stop.is_set():
                return
        load = self._drain.load
        ends = time.monotonic() + timing.gathering * min(1.0, (load - 1) / _MUCH_LOAD)
        heard += self._heard()
        while heard + calls.waiting < load and time.monotonic() < ends:
            time.sleep(_LOOK_AGAIN_SECONDS)
            heard += self._heard()

    def _heard(self) -> int:
        """Take the notifications that have come; return how many."""
        if self._drain.stopping:
            return 0
        try:
            return self._listener.heard()
        except psycopg.Error:
            self._next_beat = 0.0  # the heartbeat meets the lost connection, and its handling
            return 1

    def _reconnect(self, error: Exception, *, unsaved: int) -> None:
        """Come back to the database and to the slot; results wait, and calls go on."""
        drain = self._drain
        logger.warning(
            "database_lost", error=str(error).strip(), unsaved=unsaved, in_flight=drain.in_flight
        )
        connections.close_all()
        self._next_beat = 0.0
        while True:
            time.sleep(_RECONNECT_SECONDS)
            if self._listener.is_alive():
                return  # only Django's connection was lost, or a statement was refused
            self._listener.close()
            self._holds_slot = False
            if self._stop.is_set() and not unsaved and not drain.in_flight:
                drain.stopping = True
                return
            try:
                self._listener = Listener(() if drain.stopping else drain.channels)
            except psycopg.OperationalError:
                continue
            if not drain.stopping and not self.take_slot():
                logger.warning("slot_lost")  # another drain claims now; this one only finishes
                drain.stopping = True
            logger.info("database_back")
            return

    def _salvage(self, undelivered: list[CallResult]) -> None:
        """Save what is under way one by one, so that one poison result costs no other."""
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
                self._wait(timing.beat)
            pending = self._collect()
