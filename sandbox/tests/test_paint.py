"""Pictures: varied, reproducible, never blank, quick enough."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from sandbox.demo.report import make_contact_sheet
from sandbox.paint import Painter, black_file, paint_picture
from sandbox.paint.canvas import Canvas, choose_palette
from sandbox.paint.painter import STYLES


def opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_every_style_fills_the_canvas_and_is_reproducible(style) -> None:  # type: ignore[no-untyped-def]
    def paint(seed: int) -> Image.Image:
        rng = random.Random(seed)
        painted: Image.Image = style(Canvas(128, choose_palette([], rng), rng, frozenset()))
        return painted

    for seed in range(3):
        picture = paint(seed)
        assert (picture.size, picture.mode) == ((128, 128), "RGB")
        spread = ImageStat.Stat(picture.convert("L"))
        assert spread.stddev[0] > 8, "blank"
        assert 12 < spread.mean[0] < 243, "black or white"
        assert picture.tobytes() == paint(seed).tobytes()


def test_words_call_for_styles_and_colours() -> None:
    def redness(prompt: str) -> float:
        means = [ImageStat.Stat(paint_picture(prompt, seed, 64)).mean for seed in range(6)]
        return sum(mean[0] - mean[2] for mean in means)

    assert redness("facets of a crystal at sunset") > redness("facets of a crystal in the ocean")
    nights = [paint_picture("mountains", seed, 64).tobytes() for seed in range(6)]
    assert len(set(nights)) == 6


def test_reused_pictures_are_valid_varied_and_distinct() -> None:
    painter, other = (Painter(128, distinct_images=6) for _ in range(2))
    files = [painter.paint_file(f"prompt {seed}" + "x" * (seed % 2), seed) for seed in range(40)]
    assert len(set(files)) == 40
    pictures = [opened(content) for content in files]
    assert {(picture.format, picture.size) for picture in pictures} == {("WEBP", (128, 128))}
    assert 3 <= len({picture.convert("RGB").tobytes() for picture in pictures}) <= 6
    # They do not depend on what came before.
    assert other.paint_file("prompt 2", 2) == files[2]


def test_files_have_the_format_asked_for() -> None:
    assert opened(Painter(64).paint_file("x", 1, "png")).format == "PNG"
    assert opened(black_file("webp")).convert("L").getextrema() == (0, 0)


def test_a_contact_sheet_shows_all_pictures(tmp_path: Path) -> None:
    painter = Painter(128)
    items = [(painter.paint_file(f"p{n}", n), f"#{n}", "@author" * 20) for n in range(7)]
    path = make_contact_sheet([*items, (b"<html>", "#8", "@a")], tmp_path / "new" / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000
        assert len(sheet.convert("RGB").resize((64, 64)).getcolors(5000) or []) > 500
