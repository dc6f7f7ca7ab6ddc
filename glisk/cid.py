"""Compute and check IPFS content identifiers (CIDs) of files, with the standard library alone.

A file's CID depends on how it is cut. Pinata uses chunks of 262,144 bytes and 174 links a tree
node; version 1 has raw leaves, version 0 has not (recomputed from deployed assets). The encodings
are those of the UnixFS and dag-pb specifications (https://specs.ipfs.tech/unixfs/,
https://ipld.io/specs/codecs/dag-pb/spec/): in a dag-pb node the links (field 2) stand before the
data (field 1).

As text, CIDs are base58 for version 0 (`Qm…`) and base32 for version 1 (`b…`); only sha2-256
digests are known, the one hash in use for files (https://github.com/multiformats/cid).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final, Literal

RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = b"\x12\x20"  # multihash prefix: code 0x12, 32 bytes
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MOST_CHARACTERS: Final = 64  # of a CID's text; bounds the work on hostile input

CHUNK_SIZE: Final = 262_144
MAX_LINKS: Final = 174

Version = Literal[0, 1]


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier with a sha2-256 digest; `codec` is RAW or DAG_PB."""

    version: Version
    codec: int
    digest: bytes

    def __bytes__(self) -> bytes:
        prefix = bytes([1, self.codec]) if self.version else b""
        return prefix + SHA2_256 + self.digest

    def __str__(self) -> str:
        if self.version:
            return "b" + base64.b32encode(bytes(self)).decode("ascii").rstrip("=").lower()
        number, letters = int.from_bytes(bytes(self), "big"), ""
        while number:  # a multihash begins with 0x12, so there are no leading zeros to keep
            number, remainder = divmod(number, 58)
            letters = _BASE58[remainder] + letters
        return letters


@dataclass(frozen=True, slots=True)
class Dag:
    """A block of a file's tree; the sizes are those of all blocks below it, and of their data.

    Pinata reports `dag_size_bytes` of the root as PinSize.
    """

    cid: Cid
    dag_size_bytes: int
    file_size_bytes: int


# -- of a file -------------------------------------------------------------------------------


def compute_cid(data: bytes, *, version: Version) -> str:
    """Return the CID under which Pinata stores these bytes as a file."""
    return str(compute_dag(data, version=version).cid)


def compute_dag(data: bytes, *, version: Version) -> Dag:
    view = memoryview(data)
    starts = range(0, len(data), CHUNK_SIZE) or [0]
    # All leaves are equally deep: a last lonely one has its parents, too.
    row = [_leaf(bytes(view[start : start + CHUNK_SIZE]), version) for start in starts]
    while len(row) > 1:
        row = [_parent(row[i : i + MAX_LINKS], version) for i in range(0, len(row), MAX_LINKS)]
    return row[0]


def cid_matches(data: bytes, cid: str) -> bool:
    """Tell whether the bytes are the file that the CID names, as Pinata cuts it."""
    return is_cid(cid) and compute_cid(data, version=parse_cid(cid).version) == cid


def _leaf(chunk: bytes, version: Version) -> Dag:
    size = len(chunk)
    if version:
        return Dag(Cid(1, RAW, hashlib.sha256(chunk).digest()), size, size)
    content = _field(2, chunk) if chunk else b""
    block = _field(1, b"\x08\x02" + content + b"\x18" + _varint(size))
    return Dag(Cid(0, DAG_PB, hashlib.sha256(block).digest()), len(block), size)


def _parent(children: list[Dag], version: Version) -> Dag:
    file_size = sum(child.file_size_bytes for child in children)
    links = b"".join(
        _field(2, _field(1, bytes(child.cid)) + b"\x12\x00\x18" + _varint(child.dag_size_bytes))
        for child in children
    )
    blocksizes = b"".join(b"\x20" + _varint(child.file_size_bytes) for child in children)
    block = links + _field(1, b"\x08\x02\x18" + _varint(file_size) + blocksizes)
    dag_size = len(block) + sum(child.dag_size_bytes for child in children)
    return Dag(Cid(version, DAG_PB, hashlib.sha256(block).digest()), dag_size, file_size)


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# -- from text -------------------------------------------------------------------------------


def parse_cid(text: str) -> Cid:
    """Return the parts of a CID in its usual text form (`Qm…` or base32 `b…`).

    Raises ValueError if the text is not the one canonical spelling of a CID of a file, with a
    sha2-256 digest.
    """
    try:
        if text.startswith("Qm"):
            number = 0
            for letter in text[:_MOST_CHARACTERS]:
                number = number * 58 + _BASE58.index(letter)
            cid = Cid(0, DAG_PB, number.to_bytes(34, "big")[-32:])
        else:
            letters = text[1:_MOST_CHARACTERS].upper()
            body = base64.b32decode((letters + "=" * (-len(letters) % 8)).encode("ascii"))
            cid = Cid(1, body[1], body[-32:])
    except (IndexError, OverflowError, ValueError) as error:
        raise ValueError("not a CID") from error
    if str(cid) != text or cid.codec not in (RAW, DAG_PB):
        raise ValueError("not the canonical spelling of a CID")
    return cid


def is_cid(text: str) -> bool:
    """Tell whether the text is a CID that this program can check."""
    try:
        parse_cid(text)
    except ValueError:
        return False
    return True
