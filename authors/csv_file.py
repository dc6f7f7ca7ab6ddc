"""Authors as CSV, as the admin and `onboard_author` read it: `wallet, prompt, x, farcaster`."""

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import _csv

COLUMNS: Final = ("wallet", "prompt", "x", "farcaster")
# A spreadsheet takes a cell that begins so for a formula, and authors write their prompts
# themselves: such cells get an apostrophe in front, which comes off again on the way in.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class UnreadableFile(ValueError):
    """The file cannot be read; the text says why, for people."""


def guarded(text: str) -> str:
    """Return a cell's text as it is written."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def read_csv(data: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns that a file has, and its rows by column; an empty cell is "".

    As spreadsheets save it: with a byte-order mark, with either kind of line end, with rows and
    columns of nothing, which are skipped. Raises `UnreadableFile`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile("This is no CSV file in UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        columns = _columns(next(reader, []))
        return columns, list(_rows(reader, columns))
    except csv.Error as error:
        raise UnreadableFile(f"line {reader.line_num}: {error}") from None


def _columns(header: list[str]) -> list[str]:
    columns = _without_blank_end([cell.strip() for cell in header])
    unknown = [column for column in columns if column not in COLUMNS]
    if unknown or "wallet" not in columns or len(set(columns)) < len(columns):
        named = f" (found: {', '.join(unknown)[:200]})" if unknown else ""
        raise UnreadableFile(
            f"The first line must name the columns {', '.join(COLUMNS)}{named}; "
            "only wallet is required."
        )
    return columns


def _rows(reader: "_csv.Reader", columns: list[str]) -> Iterator[dict[str, str]]:
    for row in reader:
        cells = _without_blank_end([_read(cell) for cell in row])
        if len(cells) > len(columns):
            raise UnreadableFile(
                f"line {reader.line_num}: more cells than columns. A prompt with commas stands in "
                "quotes; no row has more cells than the header."
            )
        if cells:
            cells += [""] * (len(columns) - len(cells))
            yield dict(zip(columns, cells, strict=True))


def _without_blank_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def _read(cell: str) -> str:
    guard = cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA)
    text = cell[1:] if guard else cell
    return text if text.strip() else ""
