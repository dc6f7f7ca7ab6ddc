"""What every process of the supervisor's tree does first: never outlive its parent."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def run_child(parent: int, target: Callable[..., Any], *args: Any) -> None:
    """Run `target(*args)` in a process forked by `parent`; for `Process(target=…)`.

    Stop signals go to whole process groups (systemd, Ctrl-C). Only the supervisor heeds them:
    a child that died of one would take the calls that it makes with it.
    """
    for stop_signal in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(stop_signal, signal.SIG_IGN)
    _die_with(parent)
    target(*args)


def _die_with(parent: int) -> None:
    if _libc is not None and _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)
