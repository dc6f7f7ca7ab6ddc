"""Keep what an emulator remembers: the calls it answered, what it would charge, lines on disk."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT_IN_MEMORY = 200_000


class JsonLines:
    """Keep records in a file, one JSON object in each line; a kill may cut the last one short."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # else the next record would continue the broken one

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read all records; a line that is no JSON was cut short and is skipped."""
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def append(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")

    def clear(self) -> None:
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Call:
    """Describe one call; times are Unix seconds, `size` is the reply's body in bytes.

    `status` is 0 when the connection was dropped without a reply; `fault` names what was
    injected; `subject` is what the call was about (prediction id, CID).
    """

    received_at: float
    answered_at: float
    method: str
    path: str
    status: int
    size: int
    fault: str
    subject: str


class CallLog:
    """Keep calls in memory and, with a path, as JSON lines on disk."""

    def __init__(self, path: Path | None = None) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT_IN_MEMORY)
        self._file = JsonLines(path) if path is not None else None

    def add(self, **described: Any) -> None:
        """Append one answered call."""
        call = Call(**described)
        self._calls.append(call)
        if self._file is not None:
            self._file.append(asdict(call))

    def all(self) -> list[Call]:
        """Return the calls in the order of their answers."""
        return list(self._calls)

    def clear(self) -> None:
        """Forget the calls in memory; the file stays."""
        self._calls.clear()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class BillEntry:
    """Describe one charge: what for, when (Unix seconds), how much.

    `key` is equal for two charges that paid for the same thing.
    """

    at: float
    subject: str
    key: str
    price_usd: float = 0.0


class Bill:
    """Collect charges, in order."""

    def __init__(self) -> None:
        self.entries: list[BillEntry] = []

    def add(self, entry: BillEntry) -> None:
        self.entries.append(entry)

    @property
    def total_usd(self) -> float:
        return round(sum(entry.price_usd for entry in self.entries), 6)

    def __len__(self) -> int:
        return len(self.entries)

    def duplicates(self) -> dict[str, int]:
        """Return the keys that were charged more than once, and how often."""
        counts = Counter(entry.key for entry in self.entries)
        return {key: count for key, count in counts.items() if count > 1}

    def clear(self) -> None:
        self.entries.clear()

    def as_json(self) -> dict[str, Any]:
        return {
            "count": len(self.entries),
            "total_usd": self.total_usd,
            "duplicates": self.duplicates(),
            "entries": [asdict(entry) for entry in self.entries],
        }
