"""Compares the database with the chain, and says what to do about the differences."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.clients.chain import ChainClient
from glisk.management.base import ExplainedCommand, at_least, counted, progress_bar
from tokens.recovery.drift import ADVICE, DriftReport, check_drift

DRIFT = 2


class Command(ExplainedCommand):
    help = (
        "Proves that no mint is missing (mint events cover every id once), and compares every "
        "token with the contract: author, whether it is revealed, URI. Changes no token unless "
        "--repair is given; the report is kept in System state, drift_report."
    )
    examples = """\
examples:
  manage.py check_drift                 (look only)
  manage.py check_drift --repair        (adopt what others revealed, so nothing is paid for it)
  manage.py check_drift --from-id 5000  (the newer tokens only)

exit status:
  0  chain and database agree
  1  the chain could not be read
  2  they differ; what to do stands below each difference
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from-id",
            metavar="N",
            type=at_least(1),
            default=1,
            help="Compare the tokens from this id on (default 1).",
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Mend what is safe to mend: adopt tokens that others revealed, begin anew with "
            "adopted ones whose reveal a reorg took back.",
        )

        parser.add_argument(
            "--dry-run", action="store_true", help="With --repair: look only, mend nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        reader = ChainClient.from_settings()
        with progress_bar("token") as on_progress:
            report = check_drift(
                reader,
                repair=options["repair"] and not options["dry_run"],
                since_id=options["from_id"],
                on_progress=on_progress,
            )
        self._write(report)
        if not report.is_clean:
            raise CommandError("Chain and database differ; see above.", returncode=DRIFT)

    def _write(self, report: DriftReport) -> None:
        proof = "cover them exactly" if report.tiled else "do NOT cover them exactly"
        given_out = counted(report.next_token_id - 1, "token")
        self.stdout.write(
            f"The contract has given out {given_out}; the mint events {proof}. "
            f"{counted(report.tokens_checked, 'token')} compared."
        )
        for kind, count in sorted(report.counts.items()):
            self.stdout.write(f"\n{kind}: {count}")
            for finding in [f for f in report.findings if f.kind == kind][:20]:
                name = f"token {finding.token_id}: " if finding.token_id else ""
                self.stdout.write(f"  {name}{finding.detail}")
            self.stdout.write(f"  → {ADVICE[kind]}")
