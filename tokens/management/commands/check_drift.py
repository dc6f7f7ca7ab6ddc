"""Compares the database with the chain, and says what to do about the differences."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from glisk.clients.mint_reader import MintReader
from glisk.errors import ProviderError
from tokens.mint_log import BATCH_MINTED_TOPIC
from tokens.recovery.drift import ADVICE, DriftReport, check_drift

DRIFT = 2

_EXAMPLES = """\
examples:
  manage.py check_drift                 (look only)
  manage.py check_drift --repair        (adopt what others revealed, so nothing is paid for it)
  manage.py check_drift --from-id 5000  (the newer tokens only)

exit status: 0 chain and database agree, 1 the node does not answer, 2 they differ.
"""


class Command(BaseCommand):
    help = "Proves that no mint is missing, and compares every token with the contract."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", _EXAMPLES)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from-id", type=int, default=1, help="First token id (default 1).")
        parser.add_argument("--repair", action="store_true", help="Mend what is safe to mend.")

    def handle(self, *args: Any, **options: Any) -> None:
        reader = MintReader.from_settings(topic=BATCH_MINTED_TOPIC)
        try:
            with tqdm(unit="token", disable=None) as bar:

                def on_progress(done: int, total: int) -> None:
                    bar.total = total
                    bar.update(done - bar.n)

                report = check_drift(
                    reader,
                    repair=options["repair"],
                    since_id=options["from_id"],
                    on_progress=on_progress,
                )
        except ProviderError as error:
            raise CommandError(f"The chain could not be read: {error}") from error
        self._write(report)
        if not report.is_clean:
            raise CommandError("Chain and database differ; see above.", returncode=DRIFT)

    def _write(self, report: DriftReport) -> None:
        proof = "tile it exactly" if report.tiled else "do NOT tile it"
        self.stdout.write(
            f"The contract has given out [1, {report.next_token_id}); the mint events {proof}. "
            f"{report.tokens_checked} tokens compared."
        )
        for kind, count in sorted(report.counts.items()):
            self.stdout.write(f"\n{kind}: {count}")
            for finding in [f for f in report.findings if f.kind == kind][:20]:
                name = f"token {finding.token_id}: " if finding.token_id else ""
                self.stdout.write(f"  {name}{finding.detail}")
            if kind in ADVICE:
                self.stdout.write(f"  → {ADVICE[kind]}")
