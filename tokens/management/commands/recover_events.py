"""Reads mints from the chain's logs and registers what is missing."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, at_least, counted, progress_bar
from tokens.recovery.backfill import Report, backfill
from tokens.recovery.progress import load_progress

PARTLY_DONE = 2


class Command(ExplainedCommand):
    help = (
        "Reads BatchMinted logs from the node at RPC_URL and registers the mints that are missing. "
        "Safe to run at any time, also while workers run: a mint that is known stays as it is."
    )
    examples = """\
examples:
  manage.py recover_events                             (from where the last reading ended)
  manage.py recover_events --from-block 37432871       (all of mainnet's history)
  manage.py recover_events --from-block 100 --to-block 200 --dry-run
  manage.py recover_events --batch-size 10             (begin with Alchemy's free plan's range)

exit status:
  0  done
  1  nothing could be read
  2  partly done. Cut short: run it again, it goes on from there. A malformed log, a conflict or
     a mint from another block: the worker asks the chain, check_drift shows what is left.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from-block",
            metavar="N",
            type=at_least(0),
            help="First block. Default: the one after last_processed_block in System state, else "
            "CONTRACT_DEPLOYED_AT_BLOCK.",
        )
        parser.add_argument(
            "--to-block",
            metavar="N|latest",
            type=_block_or_latest,
            help="Last block. Default: latest.",
        )
        parser.add_argument(
            "--batch-size",
            metavar="N",
            type=at_least(1),
            help="How many blocks to ask for at first; it adapts to what the provider gives.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be created, write nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        reader, progress, report = ChainClient.from_settings(), load_progress(), Report()
        head = reader.survey().head.number
        first, last, dry_run = options["from_block"], options["to_block"], options["dry_run"]
        if first is not None and last is not None and first > last:
            raise CommandError(f"--from-block {first} is after --to-block {last}.")
        unread = int(settings.CONTRACT_DEPLOYED_AT_BLOCK)
        if progress.block is not None:
            unread = progress.block + 1
        first = unread if first is None else first
        last = head if last is None else min(last, head)
        if first > last:
            self.stdout.write(
                f"Nothing to read: it would begin with block {first}, the newest is {head}."
            )
            return
        fault: ProviderError | None = None
        try:
            with progress_bar("block") as on_progress:
                backfill(
                    reader,
                    first=first,
                    last=last,
                    head=head,
                    report=report,
                    range_blocks=options["batch_size"] or progress.range_blocks,
                    keep_progress=first <= unread,  # only what continues it may move it
                    on_progress=on_progress,
                    dry_run=dry_run,
                )
        except ProviderError as error:
            fault = error
        told = f"created, {len(report.adopted)} adopted as revealed"
        self.stdout.write(
            f"Blocks {first} to {last}: {report.blocks:,} read in "
            f"{counted(reader.requests, 'request')} ({counted(reader.calls, 'RPC call')}): "
            f"{counted(report.logs, 'mint')}, {counted(report.created, 'token')} "
            f"{'would be created' if dry_run else told}."
        )
        if report.completed:
            self.stdout.write(
                f"{counted(report.completed, 'token')} got the mint that was missing."
            )
        for line in report.malformed:
            self.stdout.write(f"malformed: {line}")
        for outcome in (*report.conflicts, *report.reorged):
            self.stdout.write(
                f"{outcome.result.value}: {outcome.log.tx_hash} in block "
                f"{outcome.log.block_number} is not what is known here, tokens "
                f"{list(outcome.conflicting)}. A reorg does that; the worker finds out."
            )
        if fault is not None:
            raise CommandError(
                f"Stopped after {counted(report.blocks, 'block')}: {fault}",
                returncode=PARTLY_DONE if report.blocks else 1,
            ) from fault
        if report.malformed or report.conflicts or report.reorged:
            raise CommandError("Not all of it could be registered.", returncode=PARTLY_DONE)


def _block_or_latest(text: str) -> int | None:
    return None if text == "latest" else at_least(0)(text)
