"""Compares transactions and ready tokens with the chain, and follows what it says."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, counted
from reveals.reconcile import TransactionsCompared, compare_transactions, reconcile_reveals
from tokens.management.repairing import token_ids

ACTOR = "reconcile_reveals"
DRIFT = 2


class Command(ExplainedCommand):
    help = "Asks the chain about transactions and ready tokens: revealed by us, others, or nobody."
    examples = """\
examples:
  manage.py reconcile_reveals        (every ready token, every open or recent transaction)
  manage.py reconcile_reveals --token-ids 42 43

Harmless at any time, beside the worker as well.
exit status: 0 all agrees now, 1 the node does not answer or the options make no sense, 2 somebody
revealed tokens with a URI that is not ours.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--token-ids", type=token_ids, nargs="+", help="Only these.")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = options["token_ids"]
        wanted = None if chosen is None else sorted({i for part in chosen for i in part})
        try:
            chain = ChainClient.from_settings()
            if wanted is None:
                self._tell(compare_transactions(chain, actor=ACTOR))
            report = reconcile_reveals(chain, actor=ACTOR, token_ids=wanted)
        except ProviderError as error:
            raise CommandError(f"The chain could not be read: {error}") from error
        self.stdout.write(
            f"{counted(report.checked, 'ready token')} compared with the chain, "
            f"{len(report.unrevealed)} of them unrevealed."
        )
        for what, ids in (
            ("revealed by a transaction of ours, noted now", report.confirmed),
            ("revealed by somebody else with our URI, adopted", report.adopted),
            ("revealed by somebody else with a foreign URI, failed", report.foreign),
            ("revealed with our URI, but not adopted: left to the worker", report.unsettled),
        ):
            if ids:
                self.stdout.write(f"{len(ids)} {what}: {', '.join(f'#{i}' for i in ids)}")
        if report.foreign:
            raise CommandError(
                "Foreign URIs cannot be changed: find out who else holds KEEPER_ROLE.",
                returncode=DRIFT,
            )

    def _tell(self, compared: TransactionsCompared) -> None:
        self.stdout.write(f"{counted(compared.checked, 'transaction')} compared with the chain.")
        for what, hashes in (
            ("on their way", compared.pending),
            ("mined, noted now", compared.entered),
            ("in another block than noted, corrected", compared.moved),
            ("not on chain as noted: left to the worker, which looks again", compared.doubtful),
        ):
            if hashes:
                self.stdout.write(f"{len(hashes)} {what}: {', '.join(hashes)}")
