"""Authors as CSV, as the admin and `onboard_author` read it: `wallet, prompt, x, farcaster`."""

import csv
import io
from itertools import zip_longest
from typing import Any, Final

import tablib
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from import_export import fields, resources
from import_export.formats import base_formats

from authors.models import Author
from authors.onboarding import NewAuthor, is_same, write_authors
from glisk.admin.audit import actor_of

COLUMNS: Final = ("wallet", "prompt", "x", "farcaster")
# A spreadsheet takes a cell that begins so for a formula, and authors write their prompts
# themselves: such cells get an apostrophe in front, which comes off again on the way in.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class UnreadableFile(ValueError):
    """The file cannot be read; the text says why, for people."""


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
        lines = [(reader.line_num, cells) for row in reader if (cells := _cells(row))]
    except csv.Error as error:
        raise UnreadableFile(f"line {reader.line_num}: {error}") from None
    columns = [cell.strip() for cell in lines[0][1]] if lines else []
    if not {"wallet"} <= set(columns) <= set(COLUMNS) or len(set(columns)) < len(columns):
        raise UnreadableFile(
            f"The first line must name the columns {', '.join(COLUMNS)} "
            f"(found: {', '.join(columns)[:200]}); only wallet is required."
        )
    for number, cells in lines:
        if len(cells) > len(columns):
            raise UnreadableFile(
                f"line {number}: more cells than columns. A prompt with commas stands in quotes; "
                "no row has more cells than the header."
            )
    return columns, [dict(zip_longest(columns, cells, fillvalue="")) for _, cells in lines[1:]]


def _cells(row: list[str]) -> list[str]:
    """Return a row's cells as they were meant, without those of nothing at its end."""
    cells = [cell[1:] if cell.startswith("'") and _is_formula(cell) else cell for cell in row]
    cells = [cell if cell.strip() else "" for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _is_formula(cell: str) -> bool:
    return cell.lstrip("'").startswith(_FORMULA)


def author_of(row: dict[str, str]) -> NewAuthor:
    """Return the author of a row; an empty cell leaves what is stored as it is."""
    return NewAuthor(row["wallet"], *(row.get(column) or None for column in COLUMNS[1:]))


class AuthorsCSV(base_formats.CSV):
    """CSV with a header of our columns, in any order, in UTF-8; its bytes are read by us."""

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: bytes, **kwargs: Any) -> tablib.Dataset:
        columns, rows = read_csv(in_stream)
        return tablib.Dataset(*(tuple(row.values()) for row in rows), headers=columns)


class WholeDiff(resources.Diff):
    """What the preview shows of a row: each value as a whole, the old one before the new one.

    The library's compares letter by letter, which takes a quarter of a second for two prompts of
    1,000 characters that have nothing in common.
    """

    def as_html(self) -> list[SafeString]:
        return [
            format_html("<span>{}</span>", new or "") if old == new else self._change(old, new)
            for old, new in zip(self.left, self.right, strict=True)
        ]

    def _change(self, old: Any, new: Any) -> SafeString:
        gone = format_html("<del>{}</del> ", old) if old and not self.new else ""
        come = format_html("<ins>{}</ins>", new) if new else ""
        return format_html("{}{}", gone, come)


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

    @classmethod
    def get_diff_class(cls) -> type[WholeDiff]:
        return WholeDiff

    def before_import(self, dataset: tablib.Dataset, **kwargs: Any) -> None:
        self._known = Author.objects.by_wallets(str(wallet).strip() for wallet in dataset["wallet"])
        self._line_of: dict[str, int] = {}

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
        stored = known or Author()  # what is left out stays as it is
        prompt = given.prompt or stored.prompt_text
        row.update(
            wallet=given.wallet,
            prompt=stored.prompt_text if is_same(stored.prompt_text, prompt) else prompt,
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
        actor = actor_of(kwargs["user"])
        write_authors(new=self.create_instances, changed=self.update_instances, actor=actor)

    def dehydrate_prompt(self, author: Author) -> str:
        text = author.prompt_text
        return f"'{text}" if _is_formula(text) else text
