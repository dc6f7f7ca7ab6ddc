"""What a process asks of the kernel: to tell it of a stop, to end it in time, to keep memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded here and not in the child: between fork and exec nothing may take a lock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_CLOCK_BOOTTIME = 7  # goes on while the machine is suspended (linux/time.h)
_SIGEV_SIGNAL = 0
_TICKS_PER_LIMIT = 4

# https://man7.org/linux/man-pages/man3/mallopt.3.html; the numbers are those of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 * 1024 * 1024
_FROM_HEAP_BYTES = 16 * 1024 * 1024


class Flag:
    """A flag for all processes that inherit it by fork: a pipe with a byte in it.

    It can be waited for beside other descriptors. There is no lock, so no process that is killed
    can leave it locked; and setting it is safe in a signal handler, however often.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full
            os.write(self._write, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the flag; return whether it is set."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0, timeout * 1000)))

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@cache
def process_stop_flag() -> Flag:
    """Return the stop flag of this process tree; the supervisor makes it before the first fork."""
    return Flag()


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal `by` when `parent`, which forked it, ends.

    The kernel means the thread that forked: it must live as long as the parent does. Fit for a
    `preexec_fn`. Raises OSError if the kernel refuses.
    """
    if _libc is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def run_child(parent: int, target: Callable[..., Any], *args: Any) -> None:
    """Run `target(*args)` in a process forked by `parent`; for `Process(target=…)`.

    Stop signals go to whole process groups (systemd, Ctrl-C). Only the supervisor heeds them.
    """
    for stop_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(stop_signal, signal.SIG_IGN)
    die_with(parent)
    target(*args)


class DeadMan:
    """Kills this process once it has stood still for `limit_seconds`; Linux only.

    A worker checks its lease before it pays, but a process may be stopped just after that for
    longer than the lease lasts (SIGSTOP, a paused container, a debugger): what the thawed one sends
    would be paid a second time. No check of its own can prevent that, so the kernel does: a POSIX
    timer goes on while the process stands still, and its SIGKILL ends a stopped process, too.

    A thread puts the moment off again and again, so that a main thread which waits, or works, is
    not taken for a frozen process. A forked child does not inherit it.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._timer = ctypes.c_void_p()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._put_off, name="deadman", daemon=True)

    def __enter__(self) -> None:
        event = struct.pack("Pii48x", 0, signal.SIGKILL, _SIGEV_SIGNAL)  # man 3 sigevent
        if _libc is None or _libc.timer_create(_CLOCK_BOOTTIME, event, ctypes.byref(self._timer)):
            import structlog  # a fifth of a second, which emulators need not wait for

            logger = structlog.get_logger(__name__)
            logger.warning("deadman_missing", errno=ctypes.get_errno())
            return
        self._set()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if _libc is not None and self._thread.is_alive():
            self._thread.join()
            _libc.timer_delete(self._timer)

    def _put_off(self) -> None:
        while not self._ended.wait(self._limit / _TICKS_PER_LIMIT):
            self._set()

    def _set(self) -> None:
        # man 2 timer_settime: no interval; seconds and nanoseconds that are left
        left = struct.pack("llll", 0, 0, int(self._limit), int(self._limit % 1 * 1e9))
        assert _libc is not None
        _libc.timer_settime(self._timer, 0, left, None)


def recycle_after_task() -> None:
    """Have the task queue replace this process when its task has ended, with all that it knows.

    django-q2 does so with a process that has more memory than MAX_RSS (in kilobytes).
    """
    from django_q.conf import Conf

    Conf.MAX_RSS = 1


def keep_freed_memory() -> None:
    """Have glibc keep up to 64 MB of freed memory, in processes that work on pictures.

    By default glibc returns a decoder's megabytes to the kernel each time, and the next picture
    pays a page fault for every 4 kB of them: half of the CPU of its decoding.
    """
    if _libc is not None and hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        _libc.mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
