"""The files in which the processes of a machine keep their counts, so that these outlive them.

prometheus_client's multiprocess mode gives each process files of its own, named by its pid, and
sums all of them at the scrape. Here a process takes the first numbered slot that no living process
holds, and goes on with its files: a process that was killed loses no count, and there are never
more files than processes at one time. The kernel frees the slot of a process that ends (flock).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import structlog
from django.conf import settings

logger = structlog.get_logger(__name__)

# In bytes. A page of a mapped file that the disk has no room for would kill the process: the room
# is taken at the start. A series of a histogram takes about 3 kB.
_ROOM: Final = {"counter": 1 << 16, "histogram": 1 << 20}
_MOST_SLOTS: Final = 1000
# What reading a file raises that a crash of the machine has damaged, or that is gone.
_DAMAGED: Final = (RuntimeError, ValueError, struct.error, IndexError, OSError)


class Slot:
    """The slot of this process, as a text; a forked child takes one of its own."""

    def __init__(self) -> None:
        self._number = ""
        self._lock: int | None = None
        self._parents = ""
        self._was_asked = False
        os.register_at_fork(after_in_child=self._forget)

    def __call__(self) -> str:
        """Return it, taken if need be; at the first call, before anything is counted, nothing.

        Raises OSError if the directory cannot be written, or has no room.
        """
        if not self._was_asked:
            self._was_asked = True
            return ""
        return self._number or self._take()

    def _forget(self) -> None:
        """Leave the slot to the parent; its number is not taken, for the files are mapped here."""
        if self._lock is not None:
            os.close(self._lock)
            self._parents = self._number
        self._number, self._lock = "", None

    def _take(self) -> str:
        directory = settings.METRICS_DIR
        directory.mkdir(parents=True, exist_ok=True)
        for number in map(str, range(_MOST_SLOTS)):
            if number == self._parents:
                continue
            if (lock := _lock(directory / f"{number}.lock")) is not None:
                for kind, room in _ROOM.items():
                    _prepare(directory / f"{kind}_{number}.db", room)
                self._lock, self._number = lock, number
                return number
        raise OSError(f"all {_MOST_SLOTS} slots of {directory} are taken")


slot = Slot()


def _lock(path: Path) -> int | None:
    """Return the descriptor of a locked file; None if it is another process's, or user's."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        if path.exists():  # root has run a command
            return None
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _prepare(path: Path, room: int) -> None:
    """Make a file with its room on the disk, unless there is a sound one."""
    if path.exists() and _is_sound(path):
        return
    made = path.with_suffix(".new")  # no scrape meets half of it
    with made.open("wb") as file:
        file.truncate(room)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, room)
    made.replace(path)


def _is_sound(path: Path) -> bool:
    from prometheus_client.mmap_dict import MmapedDict

    try:
        for _ in MmapedDict.read_all_values_from_file(path):
            pass
    except _DAMAGED as error:
        logger.warning("metrics_file_damaged", file=path.name, error=type(error).__name__)
        return False
    return True


class FileCollector:
    """Yields the sums over all processes of this machine, those that have ended included."""

    def collect(self) -> Iterable[Any]:
        from prometheus_client.multiprocess import MultiProcessCollector

        files = sorted(settings.METRICS_DIR.glob("*.db"))
        try:
            return list(MultiProcessCollector.merge(files))
        except _DAMAGED:
            return list(MultiProcessCollector.merge(filter(_is_sound, files)))
