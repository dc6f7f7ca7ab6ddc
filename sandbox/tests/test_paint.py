"""Pictures: varied, reproducible, never blank, quick enough."""

from __future__ import annotations

import io
import random
import time
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from sandbox.contact_sheet import make_contact_sheet
from sandbox.paint import Painter, paint_picture
from sandbox.paint.files import black_file, encode, stamp
from sandbox.paint.styles import STYLE_WORDS, STYLES, choose_style

FORMATS = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}


def opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        return picture


def paint(painter: Painter, prompt: str, seed: int, file_format: str = "webp") -> bytes:
    return painter.paint_file(
        prompt, seed, width=1024, height=1024, file_format=file_format, quality=80
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(256, 256), (320, 140), (140, 320)])
def test_every_style_fills_the_canvas(style: str, size: tuple[int, int]) -> None:
    for seed in range(3):
        picture = paint_picture("anything", seed, *size, style=style)
        assert (picture.size, picture.mode) == (size, "RGB")
        spread = ImageStat.Stat(picture.convert("L"))
        assert spread.stddev[0] > 8, "blank"
        assert 12 < spread.mean[0] < 243, "black or white"
        assert len(set(picture.resize((32, 32)).get_flattened_data())) > 60


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_reproducible(style: str) -> None:
    one, two, other = (
        paint_picture("anything", seed, 128, 128, style=style).tobytes() for seed in (1, 1, 2)
    )
    assert one == two != other


def test_tiny_sizes_are_painted_too() -> None:
    assert paint_picture("tiny", 1, 16, 9).size == (16, 9)


@pytest.mark.parametrize("style", STYLE_WORDS)
def test_words_call_for_styles(style: str) -> None:
    word = STYLE_WORDS[style].split()[0]
    chosen = {choose_style([word], random.Random(seed)) for seed in range(20)}
    assert style in chosen
    assert len(chosen) < len(STYLES)


def mean_hue(prompt: str) -> float:
    small = paint_picture(prompt, 3, 64, 64, style="facets").resize((8, 8)).convert("HSV")
    hue, saturation, _ = (band.tobytes() for band in small.split())
    hues = sorted(angle for angle, strength in zip(hue, saturation, strict=True) if strength > 40)
    return hues[len(hues) // 2] / 256 * 360


@pytest.mark.parametrize(
    ("word", "low", "high"), [("green", 90, 190), ("blue", 190, 260), ("purple", 250, 320)]
)
def test_colours_that_the_prompt_names_rule_the_picture(word: str, low: float, high: float) -> None:
    assert low < mean_hue(f"a {word} thing") < high


def test_different_prompts_give_different_pictures() -> None:
    painter = Painter(image_size=128)
    assert len({paint(painter, f"prompt {number}", 1) for number in range(20)}) == 20


def test_a_full_picture_is_quick_enough() -> None:
    painter = Painter()
    paint(painter, "warm-up", 0)
    started = time.process_time()
    for seed in range(8):
        paint(painter, f"picture {seed}", seed)
    assert (time.process_time() - started) / 8 < 1  # about 0.09 s on an idle core


@pytest.mark.parametrize("file_format", FORMATS)
def test_reused_pictures_are_quick_valid_varied_and_distinct(file_format: str) -> None:
    painter = Painter(image_size=256, distinct_images=6)
    first = [paint(painter, f"prompt {seed}", seed, file_format) for seed in range(40)]
    assert len(set(first)) == 40
    pictures = [opened(content) for content in first]
    assert {picture.format for picture in pictures} == {FORMATS[file_format]}
    assert {picture.size for picture in pictures} == {(256, 256)}
    assert 3 <= len({picture.convert("RGB").tobytes() for picture in pictures}) <= 6
    started = time.process_time()
    again = [paint(painter, f"prompt {seed}", seed, file_format) for seed in range(40)]
    assert (time.process_time() - started) / 40 < 0.05  # under 0.005 s on an idle core
    assert again == first


def test_reused_pictures_do_not_depend_on_what_came_before() -> None:
    one, two = (Painter(image_size=64, distinct_images=3) for _ in range(2))
    paint(one, "first", 1)
    assert paint(one, "second", 2) == paint(two, "second", 2)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("note", [b"", b"odd", b"even"])
def test_a_stamp_leaves_the_picture_as_it_is(file_format: str, note: bytes) -> None:
    content = encode(paint_picture("x", 1, 65, 33), file_format, 80)
    stamped = stamp(content, file_format, note)
    assert stamped != content
    assert opened(stamped).convert("RGB").tobytes() == opened(content).convert("RGB").tobytes()


def test_the_longest_side_is_bounded() -> None:
    painter = Painter(image_size=200)
    content = painter.paint_file("x", 1, width=1344, height=768, file_format="png", quality=80)
    assert opened(content).size == (200, 114)


def test_black_files_are_black() -> None:
    assert opened(black_file(32, 32, "png")).convert("L").getextrema() == (0, 0)


def test_a_contact_sheet_shows_all_pictures(tmp_path: Path) -> None:
    painter = Painter(image_size=128)
    items = [(paint(painter, f"p{n}", n), f"#{n}", "@author" * 20) for n in range(7)]
    path = make_contact_sheet(items, tmp_path / "new" / "sheet.png", "GLISK Season 0")
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 1000
        four, seven = sheet.size, sheet.convert("RGB")
    plain = make_contact_sheet(items[:4], tmp_path / "four.png")
    with Image.open(plain) as smaller:
        assert smaller.width < four[0]
        assert smaller.height < four[1]
    assert len(seven.resize((64, 64)).getcolors(5000) or []) > 500


def test_a_contact_sheet_marks_what_is_no_image(tmp_path: Path) -> None:
    path = make_contact_sheet([(b"<html>", "#1", "@a")], tmp_path / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.convert("RGB").getpixel((60, 100)) == (58, 26, 34)


def test_a_contact_sheet_needs_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pictures"):
        make_contact_sheet([], tmp_path / "sheet.png")
