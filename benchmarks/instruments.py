"""What the figures are read from: the kernel's count of CPU and memory, and PostgreSQL's log.

The embedded server has no pg_stat_statements, and pg_stat_database counts transactions. With
log_duration the server writes one short line per statement it finished, without its text. The
extended protocol's PARSE and BIND are lines of their own and not counted; BEGIN and COMMIT are
statements. Lines of the benchmark's own connection are left out.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from glisk.database.embedded_postgres import ensure_running


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


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Return the proportional set size in MB: shared pages are divided among their users."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 2**20


_SETTINGS = {"log_duration": "on", "log_line_prefix": "'glisk-bench %p %i: '"}
_LINE = re.compile(r"^glisk-bench (\d+) ([A-Z ]+): LOG:  duration: ([0-9.]+) ms")
_NOT_COUNTED = frozenset({"PARSE", "BIND"})


@dataclass(frozen=True)
class StatementCount:
    """Finished statements and the server's time for them."""

    count: int = 0
    server_ms: float = 0.0
    by_tag: Counter[str] = field(default_factory=Counter)

    def tags(self, per: float = 1) -> str:
        """Return the six most frequent kinds, and how many there were for each of something."""
        return ", ".join(f"{tag} {n / per:.1f}" for tag, n in self.by_tag.most_common(6))


class StatementLog:
    """Counts from its creation on; `since_mark()` counts from the last `mark()`."""

    def __init__(self, database_dir: Path) -> None:
        self.session: psycopg.Connection[Any] = psycopg.connect(
            ensure_running(database_dir), autocommit=True
        )
        self._own_pid = self.session.info.backend_pid
        self._file = database_dir / "log"
        self._position = 0
        for name, value in _SETTINGS.items():
            self._set(name, value)
        self.mark()

    @property
    def server_pid(self) -> int:
        """The server's first process, from which all others descend."""
        return int(psutil.Process(self._own_pid).ppid())

    def switch(self, *, on: bool) -> None:
        """Log or do not: a line or two for every statement cost throughput."""
        self._set("log_duration", "on" if on else "off")
        time.sleep(0.2)  # sessions hear of it between two statements

    def _set(self, name: str, value: str) -> None:
        self.session.execute(f"ALTER SYSTEM SET {name} = {value}")
        self.session.execute("SELECT pg_reload_conf()")

    def value(self, query: str) -> Any:
        """Return the only value of a query's first row, None if there is no row."""
        row = self.session.execute(query.encode()).fetchone()
        return row and row[0]

    def rows(self, query: str) -> list[dict[str, Any]]:
        with self.session.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode()).fetchall()

    def mark(self) -> None:
        self._position = self._file.stat().st_size

    def since_mark(self) -> StatementCount:
        with self._file.open(errors="replace") as log:
            log.seek(self._position)
            return count_lines(log.read(), own_pid=self._own_pid)

    def wait_for(self, query: str, timeout_seconds: float) -> None:
        """Return once the query's only value is true. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout_seconds
        while not self.value(query):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true within {timeout_seconds:g} s: {query}")
            time.sleep(0.05)

    def close(self) -> None:
        self.session.close()


def count_lines(text: str, *, own_pid: int) -> StatementCount:
    """Count the statements of a piece of the server's log."""
    tags: Counter[str] = Counter()
    server_ms = 0.0
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None or int(found[1]) == own_pid:
            continue
        server_ms += float(found[3])
        if found[2] not in _NOT_COUNTED:
            tags[found[2]] += 1
    return StatementCount(tags.total(), server_ms, tags)
