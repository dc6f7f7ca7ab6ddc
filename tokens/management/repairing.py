"""What the commands that repair tokens have in common: ids, confirmation, summary, exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from tokens.models.job import JobService
from tokens.repairs import RepairResult
from tokens.spend import price_of

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


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


class RepairCommand(BaseCommand):
    """A command that repairs tokens and says of each what was done, or why not."""

    examples = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", self.examples)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def confirm_spending(self, planned: Sequence[RepairResult], *, yes: bool) -> None:
        """Ask before anything is paid for; raise CommandError unless that is wanted."""
        paying = sum(result.pays for result in planned)
        if not paying or yes:
            return
        question = f"{paying} new predictions, about {_cost(paying)}, will be paid for."
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Add --yes to agree. Nothing was done.")
        if input(f"{question} Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")

    def with_bar(
        self, count: int, run: Callable[[Callable[[int], None]], list[RepairResult]]
    ) -> list[RepairResult]:
        """Run a service under a progress bar."""
        with tqdm(total=count, unit="token", disable=None) as bar:

            def on_progress(done: int) -> None:
                bar.update(done)

            return run(on_progress)

    def summarise(self, results: Sequence[RepairResult], *, dry_run: bool) -> None:
        """Write what was done; exit with 2 if something was skipped."""
        done = [result for result in results if result.done]
        skipped = [result for result in results if not result.done]
        paying = sum(result.pays for result in done)
        would = "would be " if dry_run else ""
        for kind in sorted({result.message for result in done}):
            of_kind = [result.token_id for result in done if result.message == kind]
            self.stdout.write(f"{len(of_kind)} ({_listed(of_kind)}): {kind}")
        for result in skipped[:_LISTED]:
            self.stdout.write(f"token {result.token_id} {would}skipped: {result.message}")
        if len(skipped) > _LISTED:
            self.stdout.write(f"… and {len(skipped) - _LISTED} more.")
        self.stdout.write(
            f"{len(done)} tokens {would}done, {len(skipped)} {would}skipped, {paying} new "
            f"predictions, about {_cost(paying)}."
        )
        if skipped:
            raise CommandError("Not everything was done; see above.", returncode=SKIPPED)


def _cost(predictions: int) -> str:
    price = price_of(JobService.REPLICATE, settings.REPLICATE_MODEL_VERSION)
    return f"{predictions * price.reserved:.3f} US dollars"


def _listed(ids: Sequence[int]) -> str:
    shown = ", ".join(f"#{token_id}" for token_id in ids[:10])
    return shown if len(ids) <= 10 else f"{shown}, …"
