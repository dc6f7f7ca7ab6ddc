"""Keep pinned content and the list of pins in a folder that Pinata and the gateway share."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox.http.jsonlines import JsonLines
from sandbox.pinata.ipfs_cid import parse_cid


@dataclass(frozen=True)
class Pin:
    """Describe one pinned file; sizes are bytes, times Unix seconds."""

    cid: str
    dag_size: int
    name: str | None
    keyvalues: dict[str, str | int | float]
    pinned_at: float
    unpinned_at: float | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class ContentStore:
    """Read and write the bytes of files by CID; both text forms of a block are the same."""

    def __init__(self, folder: Path | str | None = None) -> None:
        """Open a folder; without one, a temporary folder that goes with this object."""
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="sandbox-ipfs-")
        self.folder = Path(self._temporary.name if self._temporary else folder or "")
        self._blocks = self.folder / "content"
        self._blocks.mkdir(parents=True, exist_ok=True)

    def _path(self, cid: str) -> Path:
        return self._blocks / str(parse_cid(cid).as_version_1)

    def write(self, cid: str, content: bytes) -> None:
        """Store a file's bytes, whole or not at all."""
        path = self._path(cid)
        if path.exists():
            return
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        part.write_bytes(content)
        part.replace(path)

    def read(self, cid: str) -> bytes | None:
        """Return a file's bytes, or None; raises InvalidCid."""
        try:
            return self._path(cid).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, cid: str) -> None:
        """Forget a file."""
        self._path(cid).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget all files."""
        for path in self._blocks.iterdir():
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder if it is a temporary one."""
        if self._temporary is not None:
            self._temporary.cleanup()


class PinList:
    """Keep the pins of the account, as JSON lines in the store's folder."""

    def __init__(self, folder: Path) -> None:
        self._pins: dict[str, Pin] = {}
        self._file = JsonLines(folder / "pins.jsonl")
        for record in self._file:
            pin = Pin(**record)
            self._pins[pin.cid] = pin

    def save(self, pin: Pin) -> None:
        """Remember a pin or its newest state."""
        self._pins[pin.cid] = pin
        self._file.append(asdict(pin))

    def get(self, cid: str) -> Pin | None:
        """Return the pin of a CID, if it is pinned now."""
        pin = self._pins.get(cid)
        return pin if pin is not None and pin.unpinned_at is None else None

    def __iter__(self) -> Iterator[Pin]:
        return iter(list(self._pins.values()))

    def pinned(self) -> list[Pin]:
        """Return what is pinned now, the oldest first."""
        return [pin for pin in self if pin.unpinned_at is None]

    def clear(self) -> None:
        """Forget all pins."""
        self._pins.clear()
        self._file.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
