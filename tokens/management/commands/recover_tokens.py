"""Registers token ids that the contract has given out and the database does not know."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, at_least, counted, progress_bar
from tokens.recovery.drift import ADVICE
from tokens.recovery.gaps import GapReport, fill_gaps

PARTLY_DONE = 2


class Command(ExplainedCommand):
    help = (
        "Finds the token ids that nextTokenId() says are given out and that have no row here, and "
        "registers them: from the logs of the blocks where they must be, and what no log explains "
        "from what the contract says of it. Safe to run at any time."
    )
    examples = """\
examples:
  manage.py recover_tokens --dry-run       (only say what is missing)
  manage.py recover_tokens                 (register all that is missing)
  manage.py recover_tokens --limit 500

exit status:
  0  done
  1  nothing could be read
  2  something that was asked for is left to do, or the contract does not know some of our tokens
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--limit",
            metavar="N",
            type=at_least(1),
            help="So many missing tokens, with the rest of their mints.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what is missing, write nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        reader, report, dry_run = ChainClient.from_settings(), GapReport(), options["dry_run"]
        fault: ProviderError | None = None
        try:
            with progress_bar("token") as on_progress:
                fill_gaps(
                    reader,
                    limit=options["limit"],
                    dry_run=dry_run,
                    on_progress=on_progress,
                    report=report,
                )
        except ProviderError as error:
            if not report.created:
                raise
            fault = error
        self._summarise(report, reader, dry_run=dry_run)
        if fault is not None:
            raise CommandError(f"Stopped, run it again: {fault}", returncode=PARTLY_DONE)
        if report.vanished or report.left:
            raise CommandError("Something is left to do; see above.", returncode=PARTLY_DONE)

    def _summarise(self, report: GapReport, reader: ChainClient, *, dry_run: bool) -> None:
        told = (
            f" {report.created - len(report.from_facts)} registered from logs, "
            f"{len(report.from_facts)} from the contract's facts, {len(report.adopted)} adopted as "
            "revealed by others."
        )
        self.stdout.write(
            f"The contract has given out {counted(report.next_token_id - 1, 'id')}; missing here: "
            f"{report.missing:,} ({counted(reader.requests, 'request')}, "
            f"{counted(reader.calls, 'RPC call')})."
            f"{'' if dry_run else told}"
        )
        if dry_run and report.ranges:
            spans = [f"{a}" if a == b else f"{a} to {b}" for a, b in report.ranges]
            self.stdout.write(f"missing: {', '.join(spans[:20])}{', …' if spans[20:] else ''}")
        if report.left:
            self.stdout.write(
                f"In no log, and too new to be taken without one: {report.left}. Run it again in a "
                "minute."
            )
        for line in report.unread:
            self.stdout.write(f"logs not read: {line}")
        if report.vanished:
            ids = ", ".join(map(str, report.vanished[:20]))
            self.stdout.write(f"unknown to the contract: {ids}. {ADVICE['vanished']}")
