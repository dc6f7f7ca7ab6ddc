"""Pictures: varied, reproducible, never blank, quick enough."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from PIL import Image, ImageStat

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
