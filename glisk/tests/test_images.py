from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from functools import cache
from typing import Any

import pytest
from PIL import Image

from glisk.clients.image_download import ImageFacts, inspect_image
from glisk.errors import ArtefactError

FORMATS = [("WEBP", "webp"), ("PNG", "png"), ("JPEG", "jpeg")]


@cache
def picture(kind: str = "PNG", width: int = 96, height: int = 80, mode: str = "RGB") -> bytes:
    noise = random.Random(7).randbytes(width * height * len(Image.new(mode, (1, 1)).getbands()))
    return encoded(Image.frombytes(mode, (width, height), noise), kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def inspect(data: bytes, **limits: int) -> ImageFacts:
    return inspect_image(data, **({"max_bytes": 1_000_000, "min_side": 16} | limits))


def code_of(data: bytes, **limits: int) -> str | None:
    with pytest.raises(ArtefactError) as caught:
        inspect(data, **limits)
    return caught.value.code


@pytest.mark.parametrize(("kind", "name"), FORMATS)
def test_facts_of_a_sound_picture(kind: str, name: Any) -> None:
    data = picture(kind)
    digest = hashlib.sha256(data).hexdigest()
    assert inspect(data) == ImageFacts(name, f"image/{name}", 96, 80, digest, len(data), False)
    assert inspect(data + b"\0\0")  # bytes after the picture do no harm


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_other_colour_modes_are_read(mode: str) -> None:
    if mode == "I;16":
        bright = b"".join(number.to_bytes(2, "little") for number in range(1000, 2024))
        image = Image.frombytes(mode, (32, 32), bright)
    else:
        image = Image.open(io.BytesIO(picture())).convert(mode)
    assert not inspect(encoded(image)).is_blank


@pytest.mark.parametrize(("kind", "_name"), FORMATS)
def test_a_cut_is_found_wherever_it_is(kind: str, _name: str) -> None:
    data = picture(kind)
    cuts = {1, 2, 4, 8, len(data) - 1, len(data) - 2, len(data) - 5, len(data) - 12}
    cuts |= set(range(12, len(data), max(1, len(data) // 50)))
    for cut in sorted(cuts):
        assert code_of(data[:cut]) in ("truncated", "not_an_image"), cut


def test_damage_in_the_middle_of_a_png_is_found() -> None:
    """The other two formats carry no checksum."""
    data = bytearray(picture("PNG"))
    middle = len(data) // 2
    data[middle : middle + 400] = b"\0" * 400
    assert code_of(bytes(data)) == "truncated"


def test_what_is_no_picture_is_refused() -> None:
    for data in (
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        b'{"detail":"not found"}',
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"\xff\xd8\xff",
        b"\0" * 5000,
        b"%PDF-1.7\n",
    ):
        assert code_of(data) in ("not_an_image", "truncated")
    for kind in ("GIF", "BMP", "TIFF"):
        assert code_of(encoded(Image.new("RGB", (64, 64)), kind)) == "not_an_image"


def test_limits_are_kept_to_the_byte_and_pixel() -> None:
    assert code_of(b"") == "empty"
    data = picture()
    inspect(data, max_bytes=len(data), max_pixels=96 * 80, min_side=80)
    assert code_of(data, max_bytes=len(data) - 1) == "too_large"
    assert code_of(data, max_pixels=96 * 80 - 1) == "too_many_pixels"
    assert code_of(data, min_side=81) == "too_small"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [5_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
        + chunk(b"IEND", b"")
    )
    assert code_of(bomb) == "too_many_pixels"


def test_one_plain_colour_or_full_transparency_is_blank() -> None:
    for kind, _ in FORMATS:
        for colour in ("black", "white", (17, 80, 200)):
            assert inspect(encoded(Image.new("RGB", (64, 64), colour), kind)).is_blank
    image = Image.open(io.BytesIO(picture(mode="RGBA")))
    image.putalpha(0)
    assert inspect(encoded(image)).is_blank


def test_one_dark_corner_is_enough_not_to_be_blank() -> None:
    image = Image.new("RGB", (256, 256), "white")
    image.paste((0, 0, 0), (0, 0, 8, 8))
    assert not inspect(encoded(image)).is_blank
