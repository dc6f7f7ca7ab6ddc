"""The calls of a drain: made in threads, delivered to its main thread."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from django.db import connections


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
    raise DatabaseInThreadError(
        "a call in a drain's thread must not use the database; return a value to turn()"
    )


def _forbid_database() -> None:
    """Make every Django connection of the current thread refuse to connect."""
    for connection in connections.all():
        # Only this thread's own object is changed, which mypy takes for the class's method.
        connection.connect = _refuse  # type: ignore[method-assign]


class Calls:
    """A thread pool whose results wake a descriptor that can be polled with others."""

    def __init__(self, threads: int, name: str, patient: Collection[str] = ()) -> None:
        """`patient`: the kinds of call that nothing else waits for."""
        self._pool = ThreadPoolExecutor(
            max_workers=threads, thread_name_prefix=name, initializer=_forbid_database
        )
        self._results: SimpleQueue[CallResult] = SimpleQueue()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._open = True
        self._patient = patient
        self._urgent = 0
        self._lock = threading.Lock()  # a late call must not write to a descriptor used anew

    def fileno(self) -> int:
        return self._read

    def submit(self, kind: str, key: Any, function: Callable[..., Any], *args: Any) -> None:
        """Run `function(*args)` in a thread, with the caller's log context."""
        context = contextvars.copy_context()
        self._pool.submit(context.run, self._call, kind, key, function, args)

    def _call(self, kind: str, key: Any, function: Callable[..., Any], args: Any) -> None:
        try:
            result = CallResult(kind, key, value=function(*args))
        except Exception as error:  # noqa: BLE001 - the drain judges it
            result = CallResult(kind, key, error=error)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a thread would be lost
            result = CallResult(kind, key, error=RuntimeError(f"the call ended with {error!r}"))
        self._results.put(result)
        self._wake(urgent=kind not in self._patient)

    def _wake(self, *, urgent: bool) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # full: the reader is awake anyhow
            self._urgent += urgent
            if self._open:
                os.write(self._write, b"\0")

    @property
    def waiting(self) -> int:
        """How many results wait to be collected."""
        return self._results.qsize()

    @property
    def urgent(self) -> int:
        """How many of them something else waits for."""
        return self._urgent

    def finished(self) -> list[CallResult]:
        """Return the results that came since the last call, and take back their wake-up."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._read, 4096)) == 4096:
                pass
        with self._lock:
            self._urgent = 0
        results: list[CallResult] = []
        with contextlib.suppress(Empty):
            while True:
                results.append(self._results.get_nowait())
        return results

    def close(self) -> None:
        """End the threads that have nothing to do; calls under way end by their own timeouts."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._read)
                os.close(self._write)
