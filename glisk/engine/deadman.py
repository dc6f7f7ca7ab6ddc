"""A process that was frozen for too long does not wake up again: the kernel kills it.

A worker checks its lease before it pays, but between the check and the sending there is always a
moment, and a process may be stopped in it for longer than the lease lasts (SIGSTOP, a paused
container, a debugger). Somebody else works on the token by then, and what the thawed one sends
would be paid a second time. No check of its own can prevent that, so the kernel does: a POSIX
timer goes on while the process stands still, and its SIGKILL ends a stopped process, too. The
supervisor then does what it does after any crash.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading

import structlog

logger = structlog.get_logger(__name__)

_CLOCK_BOOTTIME = 7  # goes on while the machine is suspended (linux/time.h)
_SIGEV_SIGNAL = 0
_TICKS_PER_LIMIT = 4


class _Sigevent(ctypes.Structure):
    """man 3 sigevent; 64 bytes in all."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    """man 2 timer_settime."""

    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class DeadMan:
    """Kills this process once it has stood still for `limit_seconds`; Linux only.

    A thread puts the moment off again and again, so that a main thread which waits for the
    database, or works, is not taken for a frozen process. A forked child does not inherit it.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._timer = ctypes.c_void_p()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._put_off, name="deadman", daemon=True)

    def start(self) -> bool:
        """Begin to watch; return whether this system can."""
        if not self._create():
            logger.warning("deadman_missing", errno=ctypes.get_errno())
            return False
        self._set(self._limit)
        self._thread.start()
        return True

    def stop(self) -> None:
        """End the watch; may be called without a start, and again."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
            self._libc.timer_delete(self._timer)

    def _create(self) -> bool:
        if sys.platform != "linux" or not hasattr(self._libc, "timer_create"):
            return False
        event = _Sigevent(None, signal.SIGKILL, _SIGEV_SIGNAL, b"")
        made = self._libc.timer_create(
            _CLOCK_BOOTTIME, ctypes.byref(event), ctypes.byref(self._timer)
        )
        return bool(made == 0)

    def _put_off(self) -> None:
        while not self._ended.wait(self._limit / _TICKS_PER_LIMIT):
            self._set(self._limit)

    def _set(self, seconds: float) -> None:
        whole = int(seconds)
        after = _Timespec(whole, int((seconds - whole) * 1e9))
        self._libc.timer_settime(
            self._timer, 0, ctypes.byref(_Itimerspec(_Timespec(0, 0), after)), None
        )
