"""Lay pictures out on one sheet, with captions."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

BACKGROUND = (15, 16, 22)
PANEL = (24, 26, 34)
TITLE_COLOUR = (240, 240, 245)
SUBTITLE_COLOUR = (148, 152, 170)
MOST_COLUMNS = 6
TILE = 320  # pixels
GAP = 28
MARGIN = 48
CAPTION = 74
HEADING = 96
CORNER = 14
SUPERSAMPLING = 4

Item = tuple[bytes, str, str]


def make_contact_sheet(items: Sequence[Item], path: Path | str, heading: str = "") -> Path:
    """Write a PNG with each picture above its title and subtitle; return its path.

    An item is (bytes of an image file, title, subtitle). Bytes that are no image get a tile that
    says so. Raises ValueError without items.
    """
    if not items:
        raise ValueError("a contact sheet needs pictures")
    columns = min(MOST_COLUMNS, max(1, math.ceil(math.sqrt(len(items) * 1.5))))
    rows = math.ceil(len(items) / columns)
    top = MARGIN + (HEADING if heading else 0)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    height = top + rows * (TILE + CAPTION) + (rows - 1) * GAP + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if heading:
        draw.text((MARGIN, MARGIN), heading, TITLE_COLOUR, ImageFont.load_default(44))
    for index, item in enumerate(items):
        row, column = divmod(index, columns)
        place = (MARGIN + column * (TILE + GAP), top + row * (TILE + CAPTION + GAP))
        _paste_item(sheet, draw, item, place)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, "PNG")
    return target


def _paste_item(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, item: Item, place: tuple[int, int]
) -> None:
    content, title, subtitle = item
    x, y = place
    sheet.paste(PANEL, (x, y), _rounded(TILE, TILE + CAPTION))
    sheet.paste(_picture(content), (x, y), _rounded(TILE, TILE, open_below=True))
    for text, size, colour, offset in (
        (title, 22, TITLE_COLOUR, 11),
        (subtitle, 15, SUBTITLE_COLOUR, 43),
    ):
        font = ImageFont.load_default(size)
        draw.text((x + 16, y + TILE + offset), _fitting(text, font), colour, font)


def _picture(content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError):
        tile = Image.new("RGB", (TILE, TILE), (58, 26, 34))
        ImageDraw.Draw(tile).text(
            (TILE / 2, TILE / 2),
            "no image",
            (226, 150, 160),
            ImageFont.load_default(24),
            anchor="mm",
        )
        return tile
    side = min(picture.size)
    left, upper = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, upper, left + side, upper + side))
    return square.resize((TILE, TILE), Image.Resampling.LANCZOS)


def _rounded(width: int, height: int, *, open_below: bool = False) -> Image.Image:
    """Make a mask with round corners; the lower ones lie outside when it is open below."""
    extra = CORNER * 2 if open_below else 0
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, size[0] - 1, size[1] - 1 + extra * SUPERSAMPLING), CORNER * SUPERSAMPLING, 255
    )
    return mask.reduce(SUPERSAMPLING)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    room = TILE - 32
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"
