"""Encode pictures as files, and make files with equal pictures differ."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

PILLOW_FORMATS = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}
WEBP_EFFORT = 1  # of 0 to 6; 4, the default, takes three times as long
PNG_EFFORT = 2


def encode(picture: Image.Image, file_format: str, quality: int) -> bytes:
    """Encode as webp, jpg or png; quality is 0 to 100 and ignored for png."""
    target = io.BytesIO()
    if file_format == "png":
        picture.save(target, "PNG", compress_level=PNG_EFFORT)
    elif file_format == "webp":
        picture.save(target, "WEBP", quality=quality, method=WEBP_EFFORT)
    else:
        picture.save(target, PILLOW_FORMATS[file_format], quality=max(1, quality))
    return target.getvalue()


def black_file(width: int, height: int, file_format: str) -> bytes:
    """Make the file that a safety checker puts in place of an unsafe image."""
    return encode(Image.new("RGB", (width, height)), file_format, 80)


def stamp(content: bytes, file_format: str, note: bytes) -> bytes:
    """Add a note that no viewer shows, so that the file's bytes are its own."""
    if file_format == "png":
        chunk = b"tEXt" + b"Comment\0" + note
        framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        end = content.rindex(b"IEND") - 4
        return content[:end] + framed + content[end:]
    if file_format == "jpg":
        return content[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + content[2:]
    return _stamp_webp(content, note)


def _stamp_webp(content: bytes, note: bytes) -> bytes:
    # A simple WebP file has a single chunk; notes need the extended format, whose header repeats
    # the size of the canvas (RFC 9649, section 2.7).
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    has_xmp = 0b100
    header = struct.pack("<I", has_xmp) + _three_bytes(width - 1) + _three_bytes(height - 1)
    chunks = _chunk(b"VP8X", header) + content[12:] + _chunk(b"XMP ", note)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _three_bytes(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
