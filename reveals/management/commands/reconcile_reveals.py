"""Compares transactions and ready tokens with the chain, and follows what it says."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.admin.actions import ranged
from glisk.clients.chain import ChainClient
from glisk.management.base import ExplainedCommand, counted
from reveals.reconcile import Found, compare_transactions, reconcile_reveals
from tokens.management.repairing import TokenIds

ACTOR = "reconcile_reveals"
DRIFT = 2


class Command(ExplainedCommand):
    help = "Asks the chain about transactions and ready tokens: revealed by us, others, or nobody."
    examples = """\
examples:
  manage.py reconcile_reveals        (every ready token, every open or recent transaction)
  manage.py reconcile_reveals --token-ids 42,43

Harmless at any time, beside the worker as well.
exit status: 0 all agrees now, 1 nothing was compared: no such ready token, or no node; 2 somebody
revealed tokens with a URI that is not ours.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--token-ids", action=TokenIds, help="Only these: 3,7,20-25.")
        parser.add_argument("--dry-run", action="store_true", help="Say it, change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen, dry_run = options["token_ids"], options["dry_run"]
        wanted = None if chosen is None else sorted(set(chosen))
        chain = ChainClient.from_settings()
        if wanted is None:
            compared = compare_transactions(chain, actor=ACTOR, dry_run=dry_run)
            self._tell(compared, "transaction")
        found = reconcile_reveals(chain, actor=ACTOR, token_ids=wanted, dry_run=dry_run)
        self._tell({f"#{token_id}": what for token_id, what in found.items()}, "ready token")
        if dry_run:
            self.stdout.write("Dry run: this is what would be noted; nothing is changed.")
        if left := sorted(set(wanted or ()) - found.keys()):
            self.stdout.write(f"Not ready, and not compared: {ranged(left)}.")
        if wanted and not found:
            raise CommandError("None of these tokens is ready: nothing was compared.")
        if Found.FOREIGN in found.values():
            raise CommandError(
                "Foreign URIs cannot be changed: find out who else holds KEEPER_ROLE.",
                returncode=DRIFT,
            )

    def _tell(self, found: Mapping[str, Found], noun: str) -> None:
        self.stdout.write(f"{counted(len(found), noun)} compared with the chain.")
        for what in Found:
            names = [name for name, found_so in found.items() if found_so is what]
            if names:
                self.stdout.write(f"{len(names)} {what}: {', '.join(names)}")
