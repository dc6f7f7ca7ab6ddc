"""What our management commands share: help with examples, numbers, a question, a bar, one error."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from glisk.database import unapplied_migrations, undone_if
from glisk.errors import ProviderError
from glisk.logging.redaction import redact_text


class ExplainedCommand(BaseCommand):
    """A command whose `--help` ends with its `examples`, as they are written.

    The exit statuses of all: 0 done; 1 nothing was done: an id that is not here, options that make
    no sense (argparse's 2), a node or database that does not answer; 2 partly done, or findings.
    """

    examples = ""
    # All that it changes stands in the database: its --dry-run does it and takes it back.
    dry_run_takes_back = False

    def execute(self, *args: Any, **options: Any) -> Any:
        if os.environ.get("NO_COLOR") and not options.get("force_color"):  # https://no-color.org
            options["no_color"] = True
        takes_back = self.dry_run_takes_back and options["dry_run"]
        try:
            with undone_if(takes_back):
                said = super().execute(*args, **options)
            if takes_back:
                self.stderr.write("Dry run: all of this was taken back, nothing is changed.")
            return said
        except ProviderError as error:
            raise CommandError(f"The chain could not be read: {error}") from error

    def run_from_argv(self, argv: list[str]) -> None:
        parser = self.create_parser(argv[0], argv[1])
        try:
            parser.parse_args(argv[2:])
        except CommandError as error:
            parser.print_usage(sys.stderr)
            self.stderr.write(str(error))
            sys.exit(1)
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", self.examples)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.description = textwrap.fill(str(self.help), 78)
        if self.dry_run_takes_back:
            parser.add_argument("--dry-run", action="store_true", help="Say it, change nothing.")
        return parser


def at_least(low: int) -> Callable[[str], int]:
    """Return the type of an option that takes a whole number from `low` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < low:
            raise argparse.ArgumentTypeError(f"must be {low} or more")
        return value

    return read


def counted(number: int, noun: str) -> str:
    """Return "1 token", "2 tokens"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what costs money or stays for ever; raise CommandError unless it is wanted."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Add --yes to agree. Nothing was done.")
    if input(f"{question} Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandError("Nothing was done.")


def explain_database_error(error: DatabaseError | InterfaceError) -> str | None:
    """Return one sentence for a database that is away or lacks tables; None: the fault is ours."""
    connection.close()  # whatever it was in the middle of
    if isinstance(error, OperationalError | InterfaceError):
        words = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        return f"The database does not answer: {redact_text(words)}"
    missing = unapplied_migrations()
    if not missing:
        return None
    return (
        f"The database lacks {counted(len(missing), 'migration')}, from {missing[0]} on: "
        "run `manage.py migrate` first (`make web` does)."
    )


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress where somebody looks: call what is yielded with done and total."""
    from tqdm import tqdm

    with tqdm(unit=unit, disable=None) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_progress
