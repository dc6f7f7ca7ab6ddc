"""A step of the work: claim rows, make a call for each piece of work, settle what came of it.

    claim (one transaction) → call (a thread, no database) → settle (one transaction)

Between two steps nothing lives in memory but the calls under way: what waits, waits in its row.
So a crash, a hand-over and the next turn are the same thing.
"""

from __future__ import annotations

import contextvars
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

from django.db import connections

from glisk.breaker import Breaker
from glisk.engine.process import Flag
from glisk.metrics import timed_step_call

W = TypeVar("W")  # a claimed piece of work
D = TypeVar("D")  # what its call brought


@dataclass(frozen=True)
class Done(Generic[W, D]):
    work: W
    value: D


@dataclass(frozen=True)
class Failed(Generic[W]):
    work: W
    error: Exception


class Step(ABC, Generic[W, D]):
    """One row of the table of steps. All methods but `call` run in the drain's main thread."""

    # Rare work is not looked for in every turn under load.
    rare: ClassVar[bool] = False

    def __init__(self, owner: str) -> None:
        """`owner` is the drain's, unique for each run: it marks what this process claims."""
        self.owner = owner
        self.under_way: list[W] = []
        self._paused_until = 0.0
        # Set by a claim that leaves rows to a later one: `due_in` was asked before it.
        self.has_put_off = False

    def pause(self, seconds: float) -> None:
        """Begin nothing for so long: for what concerns all rows of the step."""
        self._paused_until = time.monotonic() + seconds

    @property
    def paused_for(self) -> float:
        return max(0.0, self._paused_until - time.monotonic())

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    @abstractmethod
    def most(self) -> int:
        """How many calls of this process may be under way: so many threads are kept for them."""

    def places(self) -> int:
        """Return how many calls may begin now: pause, breaker, rate and room."""
        return self.most - len(self.under_way)

    @abstractmethod
    def claim(self, limit: int) -> Sequence[W]:
        """Take at most `limit` pieces of work, of one row or many; committed when this returns."""

    @abstractmethod
    def call(self, work: W) -> D:
        """Make the call; runs in a thread and touches no database."""

    @abstractmethod
    def settle(self, done: Sequence[Done[W, D]], failed: Sequence[Failed[W]]) -> None:
        """Write what came of the calls of one turn, in one transaction.

        Bears repetition: if the answer to its commit is lost, it is called with the same again.
        """

    def leased(self, work: W) -> Collection[int]:
        """Name the rows whose lease is to be renewed while the call is under way."""
        return ()

    @property
    def breakers(self) -> Collection[Breaker]:
        """Name the breakers whose probe a call of the step may be."""
        return ()

    def asks(self, work: W) -> Collection[Breaker]:
        """Name those that hear how this call went, if it is their probe."""
        return self.breakers

    def due_in(self) -> float | None:
        """Seconds until something falls due by the clock; None: a notification will tell."""
        return None

    def close(self) -> None:
        """Close what the step has opened."""


@dataclass(frozen=True)
class CallResult:
    """A finished call: its value, or the exception that it raised."""

    kind: str
    key: Any
    value: Any = None
    error: Exception | None = None


class DatabaseInThreadError(RuntimeError):
    """A call of a drain touched the database; that belongs to the drain's main thread."""


def _refuse() -> NoReturn:
    raise DatabaseInThreadError("a call in a drain's thread must not use the database")


def _forbid_database() -> None:
    """Make every Django connection of the current thread refuse to connect."""
    for connection in connections.all():
        # Only this thread's own object is changed, which mypy takes for the class's method.
        connection.connect = _refuse  # type: ignore[method-assign]


class Calls:
    """A thread pool whose results wake a descriptor that can be polled with others."""

    def __init__(self, threads: int, name: str) -> None:
        self.under_way = 0  # calls that were submitted and not collected yet
        self._pool = ThreadPoolExecutor(
            max_workers=max(1, threads), thread_name_prefix=name, initializer=_forbid_database
        )
        self._results: SimpleQueue[CallResult] = SimpleQueue()
        self._some_ended = Flag()
        self._open = True
        self._lock = threading.Lock()  # a late call must not write to a descriptor used anew

    def fileno(self) -> int:
        return self._some_ended.fileno()

    def submit(self, kind: str, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Run `function(*args)` in a thread, with the caller's log context."""
        self.under_way += 1
        context = contextvars.copy_context()
        self._pool.submit(context.run, self._call, kind, key, function, args)

    def _call(self, kind: str, key: Any, function: Callable[..., Any], args: Any) -> None:
        try:
            with timed_step_call(kind):
                value = function(*args)
            result = CallResult(kind, key, value=value)
        except Exception as error:  # noqa: BLE001 - the drain judges it
            result = CallResult(kind, key, error=error)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a thread would be lost
            result = CallResult(kind, key, error=RuntimeError(f"the call ended with {error!r}"))
        with self._lock:
            self._results.put(result)
            if self._open:
                self._some_ended.set()

    @property
    def waiting(self) -> int:
        return self._results.qsize()

    def finished(self) -> list[CallResult]:
        """Return the results that came since the last call, and take back their wake-up."""
        self._some_ended.clear()
        results = [self._results.get() for _ in range(self.waiting)]
        self.under_way -= len(results)
        return results

    def close(self) -> None:
        """End the threads that have nothing to do; calls under way end by their own timeouts."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._open:
                self._open = False
                self._some_ended.close()
