"""CPU time and memory of process trees, as the kernel counts them (/proc, Linux only)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """CPU seconds that a tree has used so far, with children that ended; and how many live."""

    cpu_seconds: float
    processes: int

    def __sub__(self, before: Usage) -> Usage:
        """Return what was used since then, by the processes of now."""
        return Usage(self.cpu_seconds - before.cpu_seconds, self.processes)


def tree_of(roots: Iterable[int]) -> set[int]:
    """Return these processes and all their descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    open_ends = [pid for pid in roots if _stat(pid)]
    while open_ends:
        pid = open_ends.pop()
        if pid not in found:
            found.add(pid)
            open_ends += children.get(pid, [])
    return found


def usage(roots: Iterable[int]) -> Usage:
    """Return what the trees have used.

    A living process is read by its CPU clock, to the nanosecond. One that ended is counted by
    its parent once that has collected it, in the kernel's ticks of 10 ms.
    """
    total, count = 0.0, 0
    for pid in tree_of(roots):
        fields = _stat(pid)
        if fields is None:
            continue
        try:
            total += time.clock_gettime(_cpu_clock(pid))
        except OSError:
            continue
        total += (int(fields[13]) + int(fields[14])) / _TICKS_PER_SECOND
        count += 1
    return Usage(total, count)


def pss_mb(roots: Iterable[int]) -> float:
    """Return the proportional set size in MB: shared pages are divided among their users."""
    total_kb = 0
    for pid in tree_of(roots):
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024


def parent_of(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _cpu_clock(pid: int) -> int:
    """Return the number of a process's CPU clock, as clock_getcpuclockid(3) does on Linux."""
    return (~pid << 3) | 2


def _stat(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from the state on: state, parent, … (man 5 proc, fields 3 and up)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields
