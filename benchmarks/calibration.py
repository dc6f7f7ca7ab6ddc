"""How fast is this machine now? A fixed piece of work, by which other figures are divided.

Pure Python, hashing, and small commits of PostgreSQL: what the program itself is made of. It is
timed before and after what it is compared with, so that what slows both down divides out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from benchmarks.scene import bare_world

_ROUNDS = 12
_COMMITS = 25
_DOCUMENTS = [{"token_id": n, "prompt": "A quiet lighthouse " * 5} for n in range(400)]
_BYTES = bytes(2_000_000)


@dataclass(frozen=True)
class Speed:
    """One round's milliseconds: the quickest of several by the clock, the middle one's CPU."""

    wall_ms: float
    cpu_ms: float

    @classmethod
    def of(cls, rounds: list[tuple[float, float]]) -> Speed:
        return cls(min(wall for wall, _ in rounds), median(cpu for _, cpu in rounds))


class Calibration:
    """Works on a database of its own."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session
        session.execute("CREATE TABLE calibration (id bigserial PRIMARY KEY, document jsonb)")
        # Nanoseconds on a CPU, of a process of one thread.
        self._backend = Path(f"/proc/{session.info.backend_pid}/schedstat")
        self.rounds()  # warm

    def rounds(self) -> list[tuple[float, float]]:
        """Return milliseconds by the clock and of CPU, of each of several rounds."""
        return [self._round() for _ in range(_ROUNDS)]

    def _round(self) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), self._cpu_seconds()
        for _ in range(6):
            texts = [json.dumps(document, sort_keys=True) for document in _DOCUMENTS]
            sorted(json.loads(text)["token_id"] * 7919 % 1009 for text in texts)
        for _ in range(4):
            sha256(_BYTES).digest()
        for _ in range(_COMMITS):
            self._session.execute("INSERT INTO calibration (document) VALUES (%s)", [texts[0]])
        wall, cpu = time.perf_counter() - wall, self._cpu_seconds() - cpu
        return 1000 * wall, 1000 * cpu

    def _cpu_seconds(self) -> float:
        return time.process_time() + int(self._backend.read_text().split()[0]) / 1e9


@contextmanager
def calibration() -> Iterator[Calibration]:
    with (
        bare_world("calibration") as world,
        psycopg.connect(world.database_url(), autocommit=True) as session,
    ):
        yield Calibration(session)
