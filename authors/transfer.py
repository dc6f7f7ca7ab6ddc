"""Authors as CSV, as the admin and `onboard_author` read it: `wallet, prompt, x, farcaster`."""

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import _csv
from typing import Any

import tablib
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from import_export import fields, resources
from import_export.formats import base_formats

from authors.models import Author
from authors.onboarding import NewAuthor, is_same_text, write_authors
from glisk.admin.audit import actor_of

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


def author_of(row: dict[str, str]) -> NewAuthor:
    """Return the author of a row; an empty cell leaves what is stored as it is."""
    return NewAuthor(row["wallet"], *(row.get(column) or None for column in COLUMNS[1:]))


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


MOST_ROWS = 20_000


class AuthorsCSV(base_formats.CSV):
    """CSV with a header of our columns, in any order, in UTF-8; its bytes are read by us."""

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: bytes, **kwargs: Any) -> tablib.Dataset:
        columns, rows = read_csv(in_stream)
        if len(rows) > MOST_ROWS:
            raise UnreadableFile(f"{len(rows):,} rows; at most {MOST_ROWS:,} at once.")
        return tablib.Dataset(*(tuple(row.values()) for row in rows), headers=columns)


class WholeDiff(resources.Diff):
    """What the preview shows of a row: each value as a whole, the old one before the new one.

    The library's compares letter by letter, which takes a quarter of a second for two prompts of
    1,000 characters that have nothing in common.
    """

    def as_html(self) -> list[SafeString]:
        return [self._value(old, new) for old, new in zip(self.left, self.right, strict=True)]

    def _value(self, old: Any, new: Any) -> SafeString:
        if old == new:
            return format_html("<span>{}</span>", new or "")
        before = format_html("<del>{}</del> ", old) if old else ""
        after = format_html("<ins>{}</ins>", new) if new else ""
        return format_html("{}{}", "" if self.new else before, after)


class AuthorResource(resources.ModelResource):
    """The rules of onboarding for a whole file: an empty cell leaves what is stored as it is."""

    wallet = fields.Field(attribute="wallet_address", column_name="wallet")
    prompt = fields.Field(attribute="prompt_text", column_name="prompt")
    x = fields.Field(attribute="twitter_handle", column_name="x")
    farcaster = fields.Field(attribute="farcaster_handle", column_name="farcaster")

    class Meta:
        model = Author
        fields = COLUMNS
        import_order = export_order = COLUMNS
        import_id_fields = ("wallet",)
        skip_unchanged = True
        report_skipped = True
        use_transactions = True
        use_bulk = True  # collects; what was collected is written at the end, or nothing is
        batch_size = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._known: dict[str, Author] = {}
        self._line_of: dict[str, int] = {}

    @classmethod
    def get_diff_class(cls) -> type[WholeDiff]:
        return WholeDiff

    def before_import(self, dataset: tablib.Dataset, **kwargs: Any) -> None:
        self._known = Author.objects.by_wallets(str(wallet).strip() for wallet in dataset["wallet"])
        self._line_of = {}

    def before_import_row(self, row: dict[str, Any], **kwargs: Any) -> None:
        """Bring the row into stored form; raises `ValidationError` that names every fault."""
        given = author_of(row).cleaned()
        line = int(kwargs["row_number"])
        first = self._line_of.setdefault(given.wallet, line)
        if first != line:
            raise ValidationError(f"This wallet stands in row {first} already.")
        known = self._known.get(given.wallet.lower())
        if known is None and not given.prompt:
            raise ValidationError("A new author needs a prompt.")
        stored = known or Author()  # what is left out, or the same, stays as it is
        is_same = given.prompt is None or is_same_text(stored.prompt_text, given.prompt)
        row.update(
            wallet=given.wallet,
            prompt=stored.prompt_text if is_same else given.prompt,
            x=given.twitter_handle or stored.twitter_handle,
            farcaster=given.farcaster_handle or stored.farcaster_handle,
        )

    def get_instance(self, instance_loader: Any, row: dict[str, Any]) -> Author | None:
        return self._known.get(row["wallet"].lower())

    def bulk_create(self, *args: Any, **kwargs: Any) -> None:
        """Leave it to `after_import`."""

    def bulk_update(self, *args: Any, **kwargs: Any) -> None:
        """Leave it to `after_import`."""

    def after_import(self, dataset: tablib.Dataset, result: Any, **kwargs: Any) -> None:
        if kwargs.get("dry_run") or result.has_errors() or result.has_validation_errors():
            return
        write_authors(
            new=self.create_instances,
            changed=self.update_instances,
            actor=actor_of(kwargs["user"]),
        )

    def dehydrate_prompt(self, author: Author) -> str:
        return guarded(author.prompt_text)
