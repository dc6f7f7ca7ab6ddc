"""Brings a restored database up to what chain and vendors know, before the workers start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db.models import Count
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from glisk.clients.chain import ChainClient
from glisk.clients.replicate import ReplicateClient
from glisk.engine.heartbeat import stages_alive
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, counted
from reveals.keeper import keeper_address
from tokens.models import Token
from tokens.recovery.paid_calls import adopt_paid_calls, end_waiting_samples, skip_used_numbers

ACTOR = "recover_after_restore"
LEFT_TO_DO = 2


class Command(ExplainedCommand):
    help = (
        "After an older state of the database was restored: registers the mints that came since, "
        "follows what the chain says of reveals, and finds the images that were paid for since, so "
        "that nothing is paid or sent twice. Run it before the workers start."
    )
    examples = """\
examples:
  manage.py recover_after_restore --since 2026-11-30T03:00Z     (when the backup was taken)

It may be run again, and goes on where something was left. docs/backup.md says what to do before
and after it.
exit status: 0 database, chain and vendors agree, 1 nothing was done, 2 something is left to do.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            required=True,
            metavar="TIME",
            help="When the backup was taken, or a little earlier: 2026-11-30T03:00Z.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Say it, write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        since, dry_run = _moment(options["since"]), options["dry_run"]
        look = ["--dry-run"] if dry_run else []
        if alive := stages_alive():
            raise CommandError(
                f"Workers live ({', '.join(sorted(alive))}): stop them first, or wait a quarter of "
                "a minute after their end. Nothing was done."
            )
        steps: list[tuple[str, Callable[[], bool]]] = [
            ("mints since the backup", lambda: self._call("recover_events", *look)),
            ("tokens that no log explains", lambda: self._call("recover_tokens", *look)),
            ("our transactions and ready tokens", lambda: self._call("reconcile_reveals", *look)),
            ("tokens that are revealed already", lambda: self._adopt_revealed(look)),
            ("the keeper's transactions", self._look_for_pending),
            ("images paid for since the backup", lambda: self._find_images(since, dry_run=dry_run)),
            ("database and chain", lambda: self._call("check_drift", *look)),
        ]
        if not dry_run:
            skip_used_numbers()
            end_waiting_samples()
        left = []
        for number, (title, step) in enumerate(steps, 1):
            self.stdout.write(self.style.MIGRATE_HEADING(f"{number}/{len(steps)} {title}"))
            if not step():
                left.append(title)
        states = Token.objects.values_list("status").annotate(Count("pk")).order_by("status")
        told = ", ".join(f"{count} {status}" for status, count in states)
        self.stdout.write(f"Tokens now: {told or 'none'}.")
        if left:
            raise CommandError(
                f"Left to do: {'; '.join(left)}. See above, and run this again before the workers "
                "start.",
                returncode=LEFT_TO_DO,
            )
        agrees = "All agrees: start web and workers."
        self.stdout.write("Dry run: nothing was written." if dry_run else agrees)

    def _call(self, command: str, *arguments: str) -> bool:
        """Run one of our commands; return whether it left nothing to do."""
        try:
            call_command(command, *arguments, stdout=self.stdout, stderr=self.stderr)
        except (CommandError, ProviderError) as error:
            self.stdout.write(self.style.WARNING(str(error)))
            return False
        return True

    def _adopt_revealed(self, look: list[str]) -> bool:
        self._call("check_drift", "--repair", *look)  # its last word is the look at the end
        return True

    def _look_for_pending(self) -> bool:
        """Tell of transactions that the pool holds and the database has perhaps forgotten."""
        if not (keeper := keeper_address()):
            self.stdout.write("The keeper is not known here: set KEEPER_ADDRESS.")
            return False
        rpc = ChainClient.from_settings().rpc
        try:
            mined, all_known = (
                int(str(rpc.call("eth_getTransactionCount", keeper, at)), 16)
                for at in ("latest", "pending")
            )
        except ProviderError as error:
            self.stdout.write(self.style.WARNING(str(error)))
            return False
        waiting = all_known - mined
        self.stdout.write(f"Transactions of the keeper that wait to be mined: {waiting}.")
        if waiting > 0:
            self.stdout.write("Wait until they are: tokens of theirs would be sent once more.")
        return waiting <= 0

    def _find_images(self, since: datetime, *, dry_run: bool) -> bool:
        try:
            report = adopt_paid_calls(ReplicateClient(), since=since, actor=ACTOR, dry_run=dry_run)
        except ProviderError as error:
            self.stdout.write(self.style.WARNING(str(error)))
            return False
        self.stdout.write(
            f"{counted(report.listed, 'prediction')} in Replicate's listing; not in the ledger "
            f"before, and now: {len(report.entered)} ({report.cost_usd:f} US dollars); tokens that "
            f"get the image that is paid for: {len(report.resumed)}."
        )
        if report.unreadable:
            self.stdout.write(
                f"Of nobody, since Replicate deletes inputs after an hour: {report.unreadable}. "
                "They are on its bill and not in the ledger, and their images may be paid for "
                "again."
            )
        if report.strangers:
            self.stdout.write(f"Samples, or somebody else's: {report.strangers}.")
        for token_id, reason in report.held.items():
            self.stdout.write(f"token {token_id} is held: {reason}")
        return not report.held


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CommandError(
            f"{text!r} is no time with its zone, like 2026-11-30T03:00Z. Nothing was done."
        )
    if moment > timezone.now():
        raise CommandError(f"{text} is in the future. Nothing was done.")
    return moment
