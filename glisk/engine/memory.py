"""Keep freed memory in the process instead of giving it back to the kernel at once.

A decoder asks for some megabytes for each picture and frees them again. By default glibc returns
them each time, and the next picture pays a page fault for every 4 kB of them: 800 faults for 512
pixels square, half of the CPU of its decoding.
"""

import ctypes
import sys

# https://man7.org/linux/man-pages/man3/mallopt.3.html; the numbers are those of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 64 * 1024 * 1024
_FROM_HEAP_BYTES = 16 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Have glibc keep up to 64 MB of freed memory; return whether this C library can.

    For processes that work on pictures; what they keep, they would need again for the next.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none, and gives nothing back by itself
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)) and bool(
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
    )
