"""Keep pinned content and the list of pins in a folder that Pinata and the gateway share."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.http import JsonLines
from sandbox.pinata.ipfs_cid import parse_cid


@dataclass(frozen=True)
class Pin:
    """Describe one pinned file; sizes are bytes, times Unix seconds."""

    cid: str
    dag_size: int
    name: str | None
    keyvalues: dict[str, str | int | float]
    pinned_at: float


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
        self._file = JsonLines(folder / "pins.jsonl")
        self._pins = {record["cid"]: Pin(**record) for record in self._file}

    def add(self, pin: Pin) -> Pin | None:
        """Remember a pin, unless there is one of this CID: that one is returned."""
        known = self._pins.get(pin.cid)
        if known is None:
            self._pins[pin.cid] = pin
            self._file.append(asdict(pin))
        return known

    def all(self) -> list[Pin]:
        """Return all pins, the oldest first."""
        return list(self._pins.values())

    def clear(self) -> None:
        """Forget all pins."""
        self._pins.clear()
        self._file.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
