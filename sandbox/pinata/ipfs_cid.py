"""Compute the CIDs that IPFS gives to files.

A second implementation beside the product's own, on purpose: an emulator that shared the
product's code would agree with it even where both are wrong. Rules: the UnixFS and DAG-PB
specifications (https://specs.ipfs.tech/unixfs/), balanced layout as by ipfs-unixfs-importer.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

CHUNK_SIZE = 256 * 1024  # bytes
LINKS_PER_NODE = 174
RAW, DAG_PB = 0x55, 0x70
SHA2_256_LENGTH_32 = b"\x12\x20"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class InvalidCid(ValueError):
    """Say that a text is no CID that files have."""


@dataclass(frozen=True)
class Cid:
    """Hold version, codec and multihash of a CID."""

    version: int
    codec: int
    digest: bytes

    def __str__(self) -> str:
        multihash = SHA2_256_LENGTH_32 + self.digest
        if self.version == 0:
            return _base58(multihash)
        return "b" + _base32(bytes([1, self.codec]) + multihash)

    @property
    def binary(self) -> bytes:
        """Return the bytes that a link to this CID holds."""
        multihash = SHA2_256_LENGTH_32 + self.digest
        return multihash if self.version == 0 else bytes([1, self.codec]) + multihash

    @property
    def as_version_1(self) -> Cid:
        """Return the CID of the same block in version 1."""
        return Cid(1, self.codec, self.digest)


@dataclass(frozen=True)
class AddedFile:
    """Hold a file's root CID and the size of its whole DAG in bytes, Pinata's `PinSize`."""

    cid: Cid
    dag_size: int


@dataclass(frozen=True)
class _Node:
    cid: Cid
    dag_size: int
    file_size: int


def add_file(
    content: bytes,
    *,
    cid_version: int = 1,
    raw_leaves: bool | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> AddedFile:
    """Compute the CID of a file.

    `raw_leaves` is on for version 1 and off for version 0 unless given.
    """
    raw = cid_version == 1 if raw_leaves is None else raw_leaves
    chunks = [content[at : at + chunk_size] for at in range(0, len(content), chunk_size)] or [b""]
    level = [_leaf(chunk, cid_version, raw) for chunk in chunks]
    while len(level) > 1:
        level = [
            _parent(level[at : at + LINKS_PER_NODE], cid_version)
            for at in range(0, len(level), LINKS_PER_NODE)
        ]
    return AddedFile(level[0].cid, level[0].dag_size)


def parse_cid(text: str) -> Cid:
    """Parse a CID of a file (sha2-256, raw or DAG-PB); raises InvalidCid."""
    if len(text) == 46 and text.startswith("Qm"):
        multihash, version, codec = _base58_bytes(text), 0, DAG_PB
    elif text.startswith("b"):
        padded = text[1:].upper() + "=" * (-len(text[1:]) % 8)
        try:
            binary = base64.b32decode(padded)
        except ValueError:
            raise InvalidCid(text) from None
        if text != text.lower() or len(binary) != 36 or binary[0] != 1:
            raise InvalidCid(text)
        multihash, version, codec = binary[2:], 1, binary[1]
    else:
        raise InvalidCid(text)
    if multihash[:2] != SHA2_256_LENGTH_32 or len(multihash) != 34 or codec not in (RAW, DAG_PB):
        raise InvalidCid(text)
    return Cid(version, codec, multihash[2:])


def _leaf(chunk: bytes, version: int, raw: bool) -> _Node:
    if raw:
        # A raw block has no version 0 form.
        return _Node(Cid(1, RAW, _sha256(chunk)), len(chunk), len(chunk))
    block = _bytes_field(1, _unixfs_file(len(chunk), data=chunk))
    return _Node(Cid(version, DAG_PB, _sha256(block)), len(block), len(chunk))


def _parent(children: list[_Node], version: int) -> _Node:
    if len(children) == 1:
        return children[0]
    links = b"".join(
        _bytes_field(
            2,
            _bytes_field(1, child.cid.binary)
            + _bytes_field(2, b"")
            + _number_field(3, child.dag_size),
        )
        for child in children
    )
    file_size = sum(child.file_size for child in children)
    sizes = [child.file_size for child in children]
    # DAG-PB writes the links (field 2) before the data (field 1).
    block = links + _bytes_field(1, _unixfs_file(file_size, block_sizes=sizes))
    dag_size = len(block) + sum(child.dag_size for child in children)
    return _Node(Cid(version, DAG_PB, _sha256(block)), dag_size, file_size)


def _unixfs_file(size: int, *, data: bytes = b"", block_sizes: Iterable[int] = ()) -> bytes:
    type_file = _number_field(1, 2)
    content = _bytes_field(2, data) if data else b""
    blocks = b"".join(_number_field(4, block_size) for block_size in block_sizes)
    return type_file + content + _number_field(3, size) + blocks


def _number_field(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _bytes_field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _sha256(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()


def _base32(content: bytes) -> str:
    return base64.b32encode(content).decode().lower().rstrip("=")


def _base58(content: bytes) -> str:
    number = int.from_bytes(content)
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    return digits


def _base58_bytes(text: str) -> bytes:
    number = 0
    for character in text:
        digit = BASE58.find(character)
        if digit < 0:
            raise InvalidCid(text)
        number = number * 58 + digit
    try:
        return number.to_bytes(34)
    except OverflowError:
        raise InvalidCid(text) from None
