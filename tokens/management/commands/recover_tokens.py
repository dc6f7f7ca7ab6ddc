"""Registers token ids that the contract has given out and the database does not know."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from glisk.clients.mint_reader import MintReader
from glisk.errors import ProviderError
from tokens.mint_log import BATCH_MINTED_TOPIC
from tokens.recovery.gaps import GapReport, fill_gaps

PARTLY_DONE = 2

_EXAMPLES = """\
examples:
  manage.py recover_tokens --dry-run       (only say what is missing)
  manage.py recover_tokens                 (register all that is missing)
  manage.py recover_tokens --limit 500

exit status: 0 done, 1 the node does not answer, 2 something that was asked for is left to do.
"""


class Command(BaseCommand):
    help = "Finds missing token ids by nextTokenId() and registers them."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", _EXAMPLES)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, help="Register so many tokens at most.")
        parser.add_argument("--dry-run", action="store_true", help="Count, write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError("--limit must be 1 or more.")
        reader = MintReader.from_settings(topic=BATCH_MINTED_TOPIC)
        with tqdm(unit="token", disable=None) as bar:

            def on_progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            try:
                report = fill_gaps(
                    reader,
                    limit=options["limit"],
                    dry_run=options["dry_run"],
                    on_progress=on_progress,
                )
            except ProviderError as error:
                raise CommandError(f"The chain could not be read: {error}") from error
        self._summarise(report, reader, dry_run=options["dry_run"])
        wanted = report.missing if options["limit"] is None else options["limit"]
        left = min(report.missing, wanted) - report.created
        if report.vanished or (left > 0 and not options["dry_run"]):
            raise CommandError("Something is left to do; see above.", returncode=PARTLY_DONE)

    def _summarise(self, report: GapReport, reader: MintReader, *, dry_run: bool) -> None:
        verb = (
            ""
            if dry_run
            else (
                f" {report.from_logs} registered from logs, {len(report.from_facts)} from the "
                f"contract's facts, {len(report.adopted)} adopted as revealed."
            )
        )
        self.stdout.write(
            f"The contract has given out {report.next_token_id - 1} ids; {report.missing} are "
            f"missing here ({reader.requests} requests, {reader.calls} RPC calls).{verb}"
        )
        if report.unconfirmed:
            self.stdout.write(
                f"{report.unconfirmed} are in no log, and too new to be taken without one: "
                "run it again in a minute."
            )
        for line in report.unread:
            self.stdout.write(f"logs not read: {line}")
        if report.vanished:
            ids = ", ".join(map(str, report.vanished[:20]))
            self.stdout.write(
                f"unknown to the contract: {ids}. Check GLISK_NFT_CONTRACT_ADDRESS and RPC_URL; "
                "if both are right, a reorg took them away, and the worker withdraws what is not "
                "revealed."
            )
