"""Compute and check IPFS content identifiers (CIDs) of files, with the standard library alone.

A file's CID depends on how it is cut: chunk size, whether leaves are raw blocks, and how many
links a tree node may hold. Pinata uses 262,144-byte chunks and 174 links; version 1 has raw
leaves, version 0 has not (recomputed from deployed assets). The encodings are those of the
UnixFS and dag-pb specifications (https://specs.ipfs.tech/unixfs/,
https://ipld.io/specs/codecs/dag-pb/spec/): in a dag-pb node the links (field 2) stand before the
data (field 1).

As text, CIDs are base58 for version 0 (`Qm…`) and base32 for version 1 (`b…`); only sha2-256
digests are known, the one hash in use for files (https://github.com/multiformats/cid).
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = b"\x12\x20"  # multihash prefix: code 0x12, 32 bytes

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

DEFAULT_CHUNK_SIZE: Final = 262_144
DEFAULT_MAX_LINKS: Final = 174
# The ways in which the importers in use cut a file, most likely first: Pinata's, and the
# 1 MiB profile `unixfs-v1-2025` to which it may move one day. (chunk size, links per node)
_CUTS: Final = ((DEFAULT_CHUNK_SIZE, DEFAULT_MAX_LINKS), (1_048_576, 1024), (1_048_576, 174))


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier with a sha2-256 digest; `codec` is RAW, DAG_PB or another varint."""

    version: Literal[0, 1]
    codec: int
    digest: bytes

    def __bytes__(self) -> bytes:
        prefix = b"" if self.version == 0 else b"\x01" + _varint(self.codec)
        return prefix + SHA2_256 + self.digest

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(bytes(self))
        return "b" + base64.b32encode(bytes(self)).decode("ascii").rstrip("=").lower()

    @property
    def is_raw(self) -> bool:
        """Tell whether the digest is simply the hash of the file's bytes."""
        return self.codec == RAW


@dataclass(frozen=True, slots=True)
class Dag:
    """A block of a file's tree; the sizes are those of all blocks below it, and of their data.

    Pinata reports `dag_size_bytes` of the root as PinSize.
    """

    cid: Cid
    dag_size_bytes: int
    file_size_bytes: int


# -- of a file -------------------------------------------------------------------------------


def compute_cid(
    data: bytes | memoryview | BinaryIO,
    *,
    version: Literal[0, 1],
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    raw_leaves: bool | None = None,
    max_links: int = DEFAULT_MAX_LINKS,
) -> str:
    """Return the CID under which IPFS stores these bytes, or this buffered file, as a file.

    A file is read chunk by chunk. `raw_leaves` defaults to what the version implies (1: yes,
    0: no). Raises ValueError for a version other than 0 or 1, a chunk size below 1 or fewer than
    two links per node.
    """
    dag = compute_dag(
        data, version=version, chunk_size=chunk_size, raw_leaves=raw_leaves, max_links=max_links
    )
    return str(dag.cid)


def compute_dag(
    data: bytes | memoryview | BinaryIO,
    *,
    version: Literal[0, 1],
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    raw_leaves: bool | None = None,
    max_links: int = DEFAULT_MAX_LINKS,
) -> Dag:
    """Return the root of a file's tree, with the sizes that a pinning service reports."""
    if version not in (0, 1):
        raise ValueError(f"CID version must be 0 or 1, not {version!r}")
    if chunk_size < 1 or max_links < 2:
        raise ValueError("chunk_size must be at least 1 and max_links at least 2")
    file = io.BytesIO(data) if isinstance(data, bytes | memoryview) else data
    chunks = iter(lambda: file.read(chunk_size), b"")
    raw = version == 1 if raw_leaves is None else raw_leaves
    # All leaves are equally deep: a last lonely one has its parents, too.
    row = [_leaf(chunk, version, raw) for chunk in chunks] or [_leaf(b"", version, raw)]
    while len(row) > 1:
        row = [_parent(row[i : i + max_links], version) for i in range(0, len(row), max_links)]
    return row[0]


def cid_matches(data: bytes, cid: str) -> bool:
    """Tell whether the bytes are the file that the CID names.

    Tries the usual cuts for a dag-pb CID, so False means "not this file, or cut in a way that no
    importer in use does". Text that is no CID never matches.
    """
    try:
        wanted = parse_cid(cid)
    except ValueError:
        return False
    if wanted.is_raw:
        return hashlib.sha256(data).digest() == wanted.digest
    if wanted.codec != DAG_PB:
        return False
    likely_raw = wanted.version == 1
    return any(
        compute_cid(
            data,
            version=wanted.version,
            chunk_size=chunk_size,
            raw_leaves=raw,
            max_links=max_links,
        )
        == cid
        for raw in (likely_raw, not likely_raw)
        for chunk_size, max_links in _CUTS
    )


def _leaf(chunk: bytes, version: Literal[0, 1], raw: bool) -> Dag:
    size = len(chunk)
    if raw:  # a raw block has no version 0 form
        return Dag(Cid(1, RAW, hashlib.sha256(chunk).digest()), size, size)
    content = _field(2, chunk) if chunk else b""
    block = _field(1, b"\x08\x02" + content + b"\x18" + _varint(size))
    return Dag(Cid(version, DAG_PB, hashlib.sha256(block).digest()), len(block), size)


def _parent(children: list[Dag], version: Literal[0, 1]) -> Dag:
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
    """Encode a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    """Encode an unsigned number as multiformats and protobuf do."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# -- from text -------------------------------------------------------------------------------


def parse_cid(text: str) -> Cid:
    """Return the parts of a CID in its usual text form (`Qm…` or base32 `b…`).

    Raises ValueError if the text is not the one canonical spelling of a CID with a sha2-256
    digest.
    """
    try:
        cid = _parse_v0(text) if text.startswith("Qm") else _parse_v1(text)
    except (IndexError, OverflowError, ValueError) as error:
        raise ValueError("not a CID") from error
    if str(cid) != text:
        raise ValueError("not the canonical spelling of a CID")
    return cid


def is_cid(text: str) -> bool:
    """Tell whether the text is a CID that this program can check."""
    try:
        parse_cid(text)
    except ValueError:
        return False
    return True


def _base58_encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    letters = ""
    while number:
        number, remainder = divmod(number, 58)
        letters = _BASE58[remainder] + letters
    return letters  # a multihash begins with 0x12, so there are no leading zeros to keep


def _parse_v0(text: str) -> Cid:
    number = 0
    for letter in text[:64]:  # 46 letters in a real one; bounds the work on hostile input
        number = number * 58 + _BASE58.index(letter)
    body = number.to_bytes(34, "big")
    if not body.startswith(SHA2_256):
        raise ValueError("not a sha2-256 CID")
    return Cid(version=0, codec=DAG_PB, digest=body[2:])


def _parse_v1(text: str) -> Cid:
    if not text.startswith("b") or len(text) > 128:
        raise ValueError("not a base32 CID")
    letters = text[1:].upper()
    body = base64.b32decode((letters + "=" * (-len(letters) % 8)).encode("ascii"))
    codec, start = _read_varint(body, 1)
    if body[0] != 1 or body[start : start + 2] != SHA2_256 or len(body) != start + 34:
        raise ValueError("not a version 1 CID with a sha2-256 digest")
    return Cid(version=1, codec=codec, digest=body[start + 2 :])


def _read_varint(body: bytes, start: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(start, start + 9):
        value |= (body[position] & 0x7F) << shift
        shift += 7
        if body[position] < 0x80:
            return value, position + 1
    raise ValueError("varint is too long")
