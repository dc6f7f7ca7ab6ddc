"""Compute and check IPFS content identifiers (CIDs) of files, with the standard library alone.

A file's CID depends on how it is cut: chunk size, whether leaves are raw blocks, and how many
links a tree node may hold. Pinata uses 262,144-byte chunks and 174 links; version 1 has raw
leaves, version 0 has not (recomputed from deployed assets). The encodings are those of the
UnixFS and dag-pb specifications (https://specs.ipfs.tech/unixfs/,
https://ipld.io/specs/codecs/dag-pb/spec/): in a dag-pb node the links (field 2) stand before the
data (field 1). Files are read as a stream: memory stays at one chunk plus one row of links per
tree level, whatever the file's size.

As text, CIDs are base58 for version 0 (`Qm…`) and base32 for version 1 (`b…`); only sha2-256
digests are known, the one hash in use for files (https://github.com/multiformats/cid).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = b"\x12\x20"  # multihash prefix: code 0x12, 32 bytes

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE: Final = {letter: value for value, letter in enumerate(_BASE58)}

Data = bytes | bytearray | memoryview | BinaryIO | Iterable[bytes]

DEFAULT_CHUNK_SIZE: Final = 262_144
DEFAULT_MAX_LINKS: Final = 174


@dataclass(frozen=True, slots=True)
class Dag:
    """A file's identity on IPFS: its CID, and the bytes of all blocks and of the file itself.

    `dag_size_bytes` is what Pinata reports as PinSize.
    """

    cid: str
    dag_size_bytes: int
    file_size_bytes: int


@dataclass(frozen=True, slots=True)
class _Node:
    """One block of the tree, as its parent links to it."""

    cid: bytes
    digest: bytes
    codec: int
    dag_size: int
    file_size: int


def compute_cid(
    data: Data,
    *,
    version: Literal[0, 1],
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    raw_leaves: bool | None = None,
    max_links: int = DEFAULT_MAX_LINKS,
) -> str:
    """Return the CID under which IPFS stores these bytes as a file.

    `data` is bytes, an open binary file, or an iterable of bytes of any sizes. `raw_leaves`
    defaults to what the version implies (1: yes, 0: no).
    """
    return compute_dag(
        data, version=version, chunk_size=chunk_size, raw_leaves=raw_leaves, max_links=max_links
    ).cid


def compute_dag(
    data: Data,
    *,
    version: Literal[0, 1],
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    raw_leaves: bool | None = None,
    max_links: int = DEFAULT_MAX_LINKS,
) -> Dag:
    """Return the CID together with the sizes that a pinning service reports.

    Raises ValueError for a version other than 0 or 1, a chunk size below 1 or fewer than two
    links per node.
    """
    if version not in (0, 1):
        raise ValueError(f"CID version must be 0 or 1, not {version!r}")
    if chunk_size < 1 or max_links < 2:
        raise ValueError("chunk_size must be at least 1 and max_links at least 2")
    raw = version == 1 if raw_leaves is None else raw_leaves
    root = _build(_cut(data, chunk_size), version=version, raw=raw, max_links=max_links)
    # A single raw block has no version 0 form: the importers then answer with version 1.
    shown: Literal[0, 1] = 1 if root.codec == RAW else version
    cid = Cid(version=shown, codec=root.codec, digest=root.digest)
    return Dag(cid=str(cid), dag_size_bytes=root.dag_size, file_size_bytes=root.file_size)


# The ways in which the importers in use cut a file, most likely first: Pinata's, and the
# 1 MiB profile `unixfs-v1-2025` to which it may move one day. (chunk size, links per node)
_CUTS: Final = ((DEFAULT_CHUNK_SIZE, DEFAULT_MAX_LINKS), (1_048_576, 1024), (1_048_576, 174))


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


def _cut(data: Data, size: int) -> Iterator[bytes | memoryview]:
    """Yield the data in chunks of exactly `size` bytes, the last one shorter; nothing if empty."""
    if isinstance(data, bytes | bytearray | memoryview):
        view = memoryview(data)
        for start in range(0, len(view), size):
            yield view[start : start + size]
        return
    pieces = iter(lambda: data.read(size), b"") if hasattr(data, "read") else data
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def _build(
    chunks: Iterable[bytes | memoryview], *, version: int, raw: bool, max_links: int
) -> _Node:
    """Hang the chunks into the balanced tree of the importers and return its root.

    Every level keeps only the nodes that wait for their parent. All leaves stand at the same
    depth, so a last lonely leaf still gets a parent on every level.
    """
    levels: list[list[_Node]] = [[]]

    def hang(node: _Node, level: int) -> None:
        if level == len(levels):
            levels.append([])
        if len(levels[level]) == max_links:
            close(level)
        levels[level].append(node)

    def close(level: int) -> None:
        children, levels[level] = levels[level], []
        hang(_parent(children, version), level + 1)

    for chunk in chunks:
        hang(_leaf(chunk, version, raw), 0)
    if not levels[0]:
        return _leaf(b"", version, raw)
    level = 0
    while level < len(levels) - 1 or len(levels[level]) > 1:
        close(level)
        level += 1
    return levels[level][0]


def _leaf(chunk: bytes | memoryview, version: int, raw: bool) -> _Node:
    size = len(chunk)
    if raw:
        return _node(chunk, codec=RAW, version=1, dag_size=size, file_size=size)
    content = _field(2, bytes(chunk)) if size else b""
    block = _field(1, b"\x08\x02" + content + b"\x18" + varint(size))
    return _node(block, codec=DAG_PB, version=version, dag_size=len(block), file_size=size)


def _parent(children: list[_Node], version: int) -> _Node:
    file_size = sum(child.file_size for child in children)
    links = b"".join(
        _field(2, _field(1, child.cid) + b"\x12\x00\x18" + varint(child.dag_size))
        for child in children
    )
    blocksizes = b"".join(b"\x20" + varint(child.file_size) for child in children)
    block = links + _field(1, b"\x08\x02\x18" + varint(file_size) + blocksizes)
    dag_size = len(block) + sum(child.dag_size for child in children)
    return _node(block, codec=DAG_PB, version=version, dag_size=dag_size, file_size=file_size)


def _node(
    block: bytes | memoryview, *, codec: int, version: int, dag_size: int, file_size: int
) -> _Node:
    digest = hashlib.sha256(block).digest()
    prefix = b"" if version == 0 else b"\x01" + varint(codec)
    return _Node(prefix + SHA2_256 + digest, digest, codec, dag_size, file_size)


def _field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


# -- CIDs as text ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier with a sha2-256 digest; `codec` is RAW, DAG_PB or another varint."""

    version: Literal[0, 1]
    codec: int
    digest: bytes

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(SHA2_256 + self.digest)
        body = b"\x01" + varint(self.codec) + SHA2_256 + self.digest
        return "b" + base64.b32encode(body).decode("ascii").rstrip("=").lower()

    @property
    def is_raw(self) -> bool:
        """Tell whether the digest is simply the hash of the file's bytes."""
        return self.codec == RAW


def parse_cid(text: str) -> Cid:
    """Return the parts of a CID in its usual text form (`Qm…` or base32 `b…`).

    Raises ValueError if the text is not the one canonical spelling of a CID with a sha2-256
    digest.
    """
    try:
        cid = _parse_v0(text) if text.startswith("Qm") else _parse_v1(text)
    except (KeyError, IndexError, OverflowError, binascii.Error, UnicodeEncodeError) as error:
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


def varint(value: int) -> bytes:
    """Encode an unsigned number as multiformats and protobuf do."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


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
        number = number * 58 + _BASE58_VALUE[letter]
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
