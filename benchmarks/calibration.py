"""How fast is this machine now? A fixed piece of work, by which other figures are divided.

Pure Python, hashing, and small commits of PostgreSQL: what the program itself is made of. It is
timed before and after what it is compared with, so that what slows both down divides out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psycopg

from benchmarks.report import percentile
from benchmarks.scene import bare_world

_ROUNDS = 12
_DOCUMENTS = [{"token_id": n, "prompt": "A quiet lighthouse " * 5} for n in range(400)]
_BYTES = bytes(2_000_000)


class Round(NamedTuple):
    """CPU of a round, and by the clock each repetition of each piece of it; milliseconds."""

    cpu_ms: float
    pieces: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Speed:
    """What a round takes: of each piece the quickest tenth by the clock, the middle round's CPU.

    Pieces are short, as what they are compared with is: a busy machine stretches long ones more.
    """

    wall_ms: float
    cpu_ms: float

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Speed:
        wall_ms = 0.0
        for same in zip(*(each.pieces for each in rounds), strict=True):
            times = [ms for piece in same for ms in piece]
            wall_ms += percentile(times, 0.1) * len(times) / len(rounds)
        return cls(wall_ms, median(each.cpu_ms for each in rounds))


class Calibration:
    """Works on a database of its own."""

    def __init__(self, session: psycopg.Connection[Any]) -> None:
        self._session = session
        session.execute("CREATE TABLE calibration (id bigserial PRIMARY KEY, document jsonb)")
        # Nanoseconds on a CPU, of a process of one thread.
        self._backend = Path(f"/proc/{session.info.backend_pid}/schedstat")
        self.rounds()  # warm

    def rounds(self) -> list[Round]:
        return [self._round() for _ in range(_ROUNDS)]

    def _round(self) -> Round:
        before = self._cpu_seconds()
        pieces = (
            [_milliseconds(self._think) for _ in range(6)],
            [_milliseconds(_hash) for _ in range(4)],
            [_milliseconds(self._commit) for _ in range(25)],
        )
        return Round(1000 * (self._cpu_seconds() - before), pieces)

    def _think(self) -> None:
        texts = [json.dumps(document, sort_keys=True) for document in _DOCUMENTS]
        sorted(json.loads(text)["token_id"] * 7919 % 1009 for text in texts)

    def _commit(self) -> None:
        self._session.execute(
            "INSERT INTO calibration (document) VALUES (%s)", [json.dumps(_DOCUMENTS[0])]
        )

    def _cpu_seconds(self) -> float:
        return time.process_time() + int(self._backend.read_text().split()[0]) / 1e9


def _hash() -> None:
    sha256(_BYTES).digest()


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


@contextmanager
def calibration() -> Iterator[Calibration]:
    with (
        bare_world("calibration") as world,
        psycopg.connect(world.database_url(), autocommit=True) as session,
    ):
        yield Calibration(session)
