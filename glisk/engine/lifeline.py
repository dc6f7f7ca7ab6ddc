"""Have a process end with its parent, however that ends (Linux; elsewhere nothing happens)."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded here and not in the child: between fork and exec nothing may take a lock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


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
