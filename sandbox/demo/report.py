"""What is shown when all is done: verdicts, gas, where to look on, all pictures on a sheet."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from rich import box
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from sandbox.chain import Reveal
from sandbox.demo.evidence import TokenEvidence, Verdict
from sandbox.demo.people import author_of
from sandbox.demo.screen import ACCENT, eth
from sandbox.world import World

_ROWS_SHOWN = 60
_FAULTS_SHOWN = 5
_PICTURES_SHOWN = 60
_LINK = "#7dcfff"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a line per check, and some of its faults below it."""
    lines = []
    for verdict in verdicts:
        mark = "[bold red]✗[/]" if verdict.faults else "[green]✓[/]"
        lines.append(f"  {mark} {verdict.claim:<62} [dim]{verdict.looked_at:>4}[/]")
        lines += [f"      [red]{escape(fault)}[/]" for fault in verdict.faults[:_FAULTS_SHOWN]]
        if len(verdict.faults) > _FAULTS_SHOWN:
            lines.append(f"      [red]and {len(verdict.faults) - _FAULTS_SHOWN} more[/]")
    return lines


def gas_table(reveals: Sequence[Reveal]) -> Table:
    """Return what each reveal used and cost, and all together."""
    table = Table(
        title="Gas of the reveals", title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, padding=(0, 1),
    )  # fmt: skip
    table.add_column("block", justify="right")
    table.add_column("transaction")
    for heading in ("tokens", "gas", "gas per token", "keeper paid"):
        table.add_column(heading, justify="right")
    for reveal in reveals[:_ROWS_SHOWN]:
        table.add_row(
            str(reveal.block_number),
            f"[dim]{reveal.tx_hash[:8]}…{reveal.tx_hash[-4:]}[/]",
            str(len(reveal.token_ids)),
            f"{reveal.gas_used:,}",
            f"{reveal.gas_used / len(reveal.token_ids):,.0f}",
            eth(reveal.gas_used * reveal.effective_gas_price_wei),
        )
    tokens = sum(len(reveal.token_ids) for reveal in reveals)
    gas = sum(reveal.gas_used for reveal in reveals)
    fees = sum(reveal.gas_used * reveal.effective_gas_price_wei for reveal in reveals)
    table.add_section()
    table.add_row(
        "", f"[bold]{len(reveals)} reveals[/]", f"[bold]{tokens}[/]", f"[bold]{gas:,}[/]",
        f"[bold {ACCENT}]{gas / max(1, tokens):,.0f}[/]", f"[bold]{eth(fees)}[/]",
    )  # fmt: skip
    return table


def write_contact_sheet(tokens: Sequence[TokenEvidence], path: Path) -> Path | None:
    """Lay the newest pictures out on one sheet; None if there are none."""
    shown = [token for token in tokens if token.image][-_PICTURES_SHOWN:]
    if not shown:
        return None
    items = []
    for token in shown:
        author = author_of(token.prompt_author)
        subtitle = f"{author.name} · {author.prompt}" if author else "the default author's prompt"
        items.append((token.image or b"", f"GLISK S0 #{token.token_id}", subtitle))
    return make_contact_sheet(items, path, "GLISK Season 0")


def places_panel(world: World, *, login: tuple[str, str] | None, sheet: Path | None) -> Panel:
    """Return where to look on; without a login, where all of it ends, only the files that stay."""
    base_url = world.ports.url("web")
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    places = []
    if login is not None:
        user, password = (f"[bold]{escape(word)}[/]" for word in login)
        places = [
            ("gallery", f"[{_LINK}]{base_url}/[/]"),
            ("admin", f"[{_LINK}]{base_url}/admin/[/]   {user} / {password}"),
            ("API docs", f"[{_LINK}]{base_url}/docs[/]"),
        ]
    for name, text in (
        *places,
        ("contact sheet", escape(str(sheet)) if sheet else "none"),
        ("logs", escape(str(world.directory / "logs"))),
    ):
        table.add_row(name, text)
    return Panel(table, border_style=ACCENT, padding=(1, 2), expand=False)


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

    An item is (bytes of an image file, title, subtitle). Bytes that are no image
    get a red tile.
    """
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
    sheet.paste(_picture(content), (x, y), _rounded(TILE, TILE, below=False))
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
        return Image.new("RGB", (TILE, TILE), (58, 26, 34))
    side = min(picture.size)
    left, upper = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, upper, left + side, upper + side))
    return square.resize((TILE, TILE), Image.Resampling.LANCZOS)


def _rounded(width: int, height: int, *, below: bool = True) -> Image.Image:
    """Make a mask with round corners, the lower ones too or not."""
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    mask, corners = Image.new("L", size), (True, True, below, below)
    around = (0, 0, size[0] - 1, size[1] - 1)
    drawing = ImageDraw.Draw(mask)
    drawing.rounded_rectangle(around, CORNER * SUPERSAMPLING, 255, corners=corners)
    return mask.reduce(SUPERSAMPLING)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    room = TILE - 32
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"
