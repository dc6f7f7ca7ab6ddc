"""Choose style and palette by the prompt, paint, and write the file."""

from __future__ import annotations

import random
import re

from PIL import Image

from sandbox.paint.canvas import Canvas
from sandbox.paint.files import encode, stamp
from sandbox.paint.palette import choose_palette
from sandbox.paint.styles import STYLES, choose_style

SMALLEST_SIDE = 64  # below, the styles have no pixels to work with


def paint_picture(prompt: str, seed: int, width: int, height: int, style: str = "") -> Image.Image:
    """Paint a prompt, in the style given or in one that fits; equal arguments, equal picture."""
    rng = random.Random(f"{prompt}\0{seed}")
    words = _words(prompt)
    chosen = choose_style(words, rng)
    palette = choose_palette(words, rng)
    size = (max(width, SMALLEST_SIDE), max(height, SMALLEST_SIDE))
    canvas = Canvas(*size, palette, rng, frozenset(words))
    picture = STYLES[style or chosen](canvas)
    return picture if size == (width, height) else picture.resize((width, height))


def _words(prompt: str) -> list[str]:
    """List the words in order, each in the singular too."""
    words = []
    for word in re.findall(r"[a-z]+", prompt.lower()):
        words.append(word)
        for ending, singular in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                words.append(word.removesuffix(ending) + singular)
    return words


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
        number = random.Random(f"{prompt}\0{seed}").randrange(self._distinct_images)
        key = (number, width, height, file_format, quality)
        if key not in self._painted:
            # Not by the prompt that comes first: equal arguments must give equal bytes always.
            picture = paint_picture(f"picture {number}", number, width, height)
            self._painted[key] = encode(picture, file_format, quality)
        return stamp(self._painted[key], file_format, f"{seed} {prompt}".encode()[:1000])
