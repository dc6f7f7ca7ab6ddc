"""Keep the log of calls that an emulator answered."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.http.jsonlines import JsonLines

KEPT_IN_MEMORY = 200_000


@dataclass(frozen=True, slots=True)
class Call:
    """Describe one call; times are Unix seconds, sizes are bytes of body.

    `status` is 0 when the connection was dropped without a reply; `fault` names what was
    injected; `accepted` says whether the vendor's own logic ran.
    """

    number: int
    received_at: float
    answered_at: float
    method: str
    path: str
    status: int
    request_size: int
    size: int
    fault: str
    accepted: bool
    subject: str


class CallLog:
    """Keep calls in memory and, with a path, as JSON lines on disk."""

    def __init__(self, path: Path | None = None) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT_IN_MEMORY)
        self._count = 0
        self._file = JsonLines(path) if path is not None else None

    def next_number(self) -> int:
        """Return the number of the next call, counted from 1."""
        self._count += 1
        return self._count

    def add(self, call: Call) -> None:
        """Append one answered call."""
        self._calls.append(call)
        if self._file is not None:
            self._file.append(asdict(call))

    def since(self, number: int = 0) -> list[Call]:
        """Return the calls with a higher number, in the order of their answers."""
        return [call for call in tuple(self._calls) if call.number > number]

    def clear(self) -> None:
        """Forget the calls in memory; numbering goes on, the file stays."""
        self._calls.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
