"""Append JSON lines to a file, and read back what a kill may have cut short."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class JsonLines:
    """Keep records in a file, one JSON object in each line."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        if not _ends_with_newline(path):
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
        """Write one record."""
        self._file.write(json.dumps(record) + "\n")

    def clear(self) -> None:
        """Forget all records."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
