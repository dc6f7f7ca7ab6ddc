"""Pictures: varied, reproducible, never blank, quick enough."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pytest
from PIL import Image, ImageStat

from sandbox.paint import Painter
from sandbox.paint.canvas import Canvas, choose_palette
from sandbox.paint.painter import STYLES


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_every_style_fills_the_canvas_and_is_reproducible(
    style: Callable[[Canvas], Image.Image],
) -> None:
    def paint(seed: int) -> Image.Image:
        rng = random.Random(seed)
        return style(Canvas(128, choose_palette([], rng), rng, frozenset()))

    for seed in range(3):
        picture = paint(seed)
        assert (picture.size, picture.mode) == ((128, 128), "RGB")
        spread = ImageStat.Stat(picture.convert("L"))
        assert spread.stddev[0] > 8, "blank"
        assert 12 < spread.mean[0] < 243, "black or white"
        assert picture.tobytes() == paint(seed).tobytes()


def test_reused_pictures_are_distinct_files() -> None:
    painter, other = (Painter(128, distinct_images=6) for _ in range(2))
    files = [painter.paint_file(f"prompt {seed}" + "x" * (seed % 2), seed) for seed in range(40)]
    assert len(set(files)) == 40
    pictures = {Image.open(io.BytesIO(content)).convert("RGB").tobytes() for content in files}
    assert 3 <= len(pictures) <= 6
    # They do not depend on what came before.
    assert other.paint_file("prompt 2", 2) == files[2]
