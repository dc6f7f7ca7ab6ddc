"""CIDs as text: base58 for version 0 (`Qm…`), base32 for version 1 (`b…`).

Only sha2-256 digests, the one hash in use for files (https://github.com/multiformats/cid).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Literal

RAW: Final = 0x55
DAG_PB: Final = 0x70
SHA2_256: Final = b"\x12\x20"  # multihash prefix: code 0x12, 32 bytes

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE: Final = {letter: value for value, letter in enumerate(_BASE58)}


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
