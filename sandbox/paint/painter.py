"""Choose style and palette by the prompt, paint, and write the file."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from sandbox.paint.files import encode, stamp


def paint_picture(prompt: str, seed: int, width: int, height: int) -> Image.Image:
    """Paint a prompt; equal arguments give an equal picture."""
    rng = random.Random(f"{prompt}\0{seed}")
    picture = Image.new("RGB", (width, height), tuple(rng.randrange(60, 256) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, r = rng.random() * width, rng.random() * height, rng.random() * width / 4
        draw.ellipse((x - r, y - r, x + r, y + r), tuple(rng.randrange(256) for _ in range(3)))
    return picture


class Painter:
    """Paint files for prompts, at full size or quickly.

    `image_size` bounds the longest side in pixels; with `distinct_images` n, only n pictures of
    each kind are painted, and further files show one of them under a stamp of their own.
    """

    def __init__(self, *, image_size: int = 0, distinct_images: int = 0) -> None:
        self._image_size = image_size
        self._distinct_images = distinct_images
        self._painted: dict[tuple[int, int, int, str, int], bytes] = {}

    def paint_file(
        self, prompt: str, seed: int, *, width: int, height: int, file_format: str, quality: int
    ) -> bytes:
        """Paint a prompt and encode it; equal arguments give equal bytes."""
        if self._image_size and max(width, height) > self._image_size:
            scale = self._image_size / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        if not self._distinct_images:
            return encode(paint_picture(prompt, seed, width, height), file_format, quality)
        rng = random.Random(f"{prompt}\0{seed}")
        key = (rng.randrange(self._distinct_images), width, height, file_format, quality)
        if key not in self._painted:
            self._painted[key] = encode(
                paint_picture(prompt, seed, width, height), file_format, quality
            )
        return stamp(self._painted[key], file_format, f"{seed} {prompt}".encode()[:1000])
