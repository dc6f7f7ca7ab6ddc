"""Keep pinned content and the list of pins in a folder that Pinata and the gateway share.

In it is, besides, what a token shows before its reveal: metadata and picture of a closed box.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from glisk.cid import compute_cid, parse_cid
from sandbox.http import JsonLines

_PICTURE = Path(__file__).with_name("placeholder.png").read_bytes()
_PICTURE_CID = compute_cid(_PICTURE, version=1)
_METADATA = json.dumps(
    {
        "name": "GLISK S0 blind box",
        "description": "Not revealed yet.",
        "image": f"ipfs://{_PICTURE_CID}",
        "attributes": [],
    }
).encode()
_METADATA_CID = compute_cid(_METADATA, version=1)
PLACEHOLDER_URI = f"ipfs://{_METADATA_CID}"


def block_of(cid: str) -> str:
    """Return the name of a CID's block, which is the same in both versions; raises ValueError."""
    return str(replace(parse_cid(cid), version=1))


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
        return self._blocks / block_of(cid)

    def write(self, cid: str, content: bytes) -> None:
        """Store a file's bytes, whole or not at all."""
        path = self._path(cid)
        if path.exists():
            return
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        part.write_bytes(content)
        part.replace(path)

    def read(self, cid: str) -> bytes | None:
        """Return a file's bytes, or None; raises ValueError."""
        try:
            return self._path(cid).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, cid: str) -> None:
        self._path(cid).unlink(missing_ok=True)

    def pin_placeholder(self) -> None:
        """Serve the closed box; harmless when repeated."""
        self.write(_PICTURE_CID, _PICTURE)
        self.write(_METADATA_CID, _METADATA)

    def clear(self) -> None:
        for path in self._blocks.iterdir():
            path.unlink(missing_ok=True)

    def close(self) -> None:
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
        return list(self._pins.values())

    def clear(self) -> None:
        self._pins.clear()
        self._file.clear()

    def close(self) -> None:
        self._file.close()
