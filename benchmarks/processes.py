"""CPU time and memory of process trees, as the kernel counts them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """CPU seconds that a tree has used so far, with children that ended; and how many live."""

    cpu_seconds: float
    processes: int

    def __sub__(self, before: Usage) -> Usage:
        """Return what was used since then, by the processes of now."""
        return Usage(self.cpu_seconds - before.cpu_seconds, self.processes)


def tree_of(roots: Iterable[int]) -> set[psutil.Process]:
    """Return these processes and all their descendants that live now."""
    found: set[psutil.Process] = set()
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found |= {process, *process.children(recursive=True)}
    return found


def usage(roots: Iterable[int]) -> Usage:
    """Return what the trees have used, in the kernel's ticks of 10 ms.

    A process that ended is counted by its parent once that has collected it.
    """
    total, count = 0.0, 0
    for process in tree_of(roots):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
            count += 1
    return Usage(total, count)


def pss_mb(roots: Iterable[int]) -> float:
    """Return the proportional set size in MB: shared pages are divided among their users."""
    total = 0
    for process in tree_of(roots):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 2**20
