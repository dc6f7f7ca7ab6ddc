"""Reads mints from the chain's logs and registers what is missing."""

import argparse
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from glisk.clients.mint_reader import MintReader
from glisk.errors import ProviderError
from tokens.mint_log import BATCH_MINTED_TOPIC
from tokens.recovery.backfill import Report, backfill, count_unknown
from tokens.recovery.progress import load_progress

PARTLY_DONE = 2

_EXAMPLES = """\
examples:
  manage.py recover_events                             (from where the last run ended)
  manage.py recover_events --from-block 37432871       (all of mainnet's history)
  manage.py recover_events --from-block 100 --to-block 200 --dry-run
  manage.py recover_events --batch-size 10             (begin with Alchemy's free plan's range)

exit status: 0 done, 1 nothing could be read, 2 partly done: run it again, it goes on from there.
"""


class Command(BaseCommand):
    help = "Reads BatchMinted logs and registers the mints that are missing."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", _EXAMPLES)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-block", type=_block, help="First block (default: stored).")
        parser.add_argument(
            "--to-block", type=_block_or_latest, default=None, help="Last block, or latest."
        )
        parser.add_argument("--batch-size", type=_positive, help="Blocks asked for at first.")
        parser.add_argument("--dry-run", action="store_true", help="Count, write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        reader = MintReader.from_settings(topic=BATCH_MINTED_TOPIC)
        progress = load_progress()
        deployed = settings.CONTRACT_DEPLOYED_AT_BLOCK
        stored = deployed if progress.block is None else progress.block + 1
        first = stored if options["from_block"] is None else options["from_block"]
        try:
            head = reader.survey().head
        except ProviderError as error:
            raise CommandError(f"The node does not answer: {error}") from error
        last = head.number if options["to_block"] is None else min(options["to_block"], head.number)
        if first > last:
            self.stdout.write(f"Nothing to read: block {first} is after {last}.")
            return
        report = Report()
        span = _Span(first, last, head.number, options["batch_size"] or progress.range_blocks)
        try:
            with tqdm(total=last - first + 1, unit="block", disable=None) as bar:
                # Only what continues the stored progress may move it.
                _read(reader, span, report, bar, options["dry_run"], keep=first <= stored)
        except ProviderError as error:
            self._summarise(report, reader, options["dry_run"])
            status = PARTLY_DONE if report.blocks else 1
            raise CommandError(
                f"Stopped after {report.blocks} blocks: {error}", returncode=status
            ) from error
        self._summarise(report, reader, options["dry_run"])
        if report.malformed:
            raise CommandError(
                f"{len(report.malformed)} logs are malformed.", returncode=PARTLY_DONE
            )

    def _summarise(self, report: Report, reader: MintReader, dry_run: bool) -> None:
        verb = "would be created" if dry_run else "created"
        self.stdout.write(
            f"{report.blocks} blocks read in {reader.requests} requests ({reader.calls} RPC "
            f"calls): {report.logs} mints, {report.created} tokens {verb}, "
            f"{len(report.adopted)} adopted as revealed."
        )
        if report.completed:
            self.stdout.write(f"{report.completed} tokens got the mint that was missing.")
        for outcome in report.conflicts:
            ids = ", ".join(map(str, outcome.conflicting[:10]))
            self.stdout.write(
                f"conflict: {outcome.log.tx_hash}: ids {ids} belong to another mint here. A reorg "
                "does that; the worker finds out which is right (check_drift shows what is left)."
            )
        for line in report.malformed:
            self.stdout.write(f"malformed: {line}")


@dataclass(frozen=True)
class _Span:
    first: int
    last: int
    head: int
    range_blocks: int | None


def _read(
    reader: MintReader,
    span: _Span,
    report: Report,
    bar: "tqdm[NoReturn]",
    dry_run: bool,
    *,
    keep: bool,
) -> None:
    def on_range(start: int, end: int) -> None:
        bar.update(end - start + 1)

    facts: dict[str, Any] = {**asdict(span), "report": report, "on_range": on_range}
    if dry_run:
        count_unknown(reader, **facts)
    else:
        backfill(reader, **facts, keep_progress=keep)


def _block(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("a block number is 0 or more")
    return value


def _block_or_latest(text: str) -> int | None:
    return None if text == "latest" else _block(text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
