"""What the commands that repair tokens have in common: ids, confirmation, summary, exit status."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.admin.actions import ranged
from glisk.management.base import ExplainedCommand, confirm, counted
from tokens.pipeline.image_vendors import cost_of_new_images
from tokens.repairs import RepairResult

SKIPPED = 2
_LISTED = 50
_MOST_IDS = 1_000_000


def token_ids(text: str) -> list[int]:
    """Read numbers and ranges, as in `3,7,20-25`."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            numbers = range(int(first), int(last if dash else first) + 1)
            if not numbers or numbers[0] < 1 or len(numbers) + len(found) > _MOST_IDS:
                raise ValueError
            found += numbers
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of token numbers like 3,7,20-25"
        ) from None
    return found


class TokenIds(argparse.Action):
    """The option --token-ids of every command: `3,7,20-25`, or `3 7 20-25`."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs="+", type=token_ids, **options)

    def __call__(self, _: Any, found: argparse.Namespace, values: Any, option: Any = None) -> None:
        setattr(found, self.dest, [number for part in values for number in part])


class RepairCommand(ExplainedCommand):
    """A command that repairs tokens and says of each what was done, or why not."""

    actor = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="Stands in the timeline.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        parser.add_argument("--yes", action="store_true", help="Pay for predictions unasked.")

    def carry_out(
        self, service: Callable[..., list[RepairResult]], wanted: list[int], options: dict[str, Any]
    ) -> None:
        """Plan, ask before anything is paid for, do it and say so."""
        repair = partial(service, token_ids=wanted, actor=self.actor, reason=options["reason"])
        results = repair(dry_run=True)
        if not options["dry_run"]:
            paying = sum(result.pays for result in results)
            if paying:
                confirm(f"This pays for {_predictions(paying)}.", yes=options["yes"])
            results = repair()
        self.summarise(results, dry_run=options["dry_run"])

    def summarise(self, results: Sequence[RepairResult], *, dry_run: bool = False) -> None:
        """Write what was done; exit with 2 if something was skipped, with 1 if all was."""
        done = [result for result in results if result.done]
        skipped = [result for result in results if not result.done]
        paying = sum(result.pays for result in done)
        would = "would be " if dry_run else ""
        for kind in sorted({result.message for result in done}):
            of_kind = [result.token_id for result in done if result.message == kind]
            self.stdout.write(f"{len(of_kind)} ({ranged(of_kind)}): {kind}")
        for result in skipped[:_LISTED]:
            self.stdout.write(f"token {result.token_id} {would}skipped: {result.message}")
        if len(skipped) > _LISTED:
            self.stdout.write(f"… and {len(skipped) - _LISTED} more.")
        self.stdout.write(
            f"{counted(len(done), 'token')} {would}done, {len(skipped)} {would}skipped, "
            f"{_predictions(paying)}."
        )
        if skipped and not done:
            raise CommandError("Nothing was done: all tokens were skipped; see above.")
        if skipped:
            raise CommandError("Some tokens were skipped; see above.", returncode=SKIPPED)


def _predictions(number: int) -> str:
    cost = f"about {cost_of_new_images(number):.3f} US dollars"
    return f"{counted(number, 'new prediction')}, {cost}"
