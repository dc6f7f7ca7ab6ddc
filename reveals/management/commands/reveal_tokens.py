"""Has ready tokens revealed now; shows the batches, the gas and the cost before it asks."""

import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from glisk.clients.chain import ChainClient
from glisk.clients.gateway import GatewayClient
from glisk.errors import ProviderError
from reveals.by_hand import request_reveal
from reveals.fees import GasPriceTooHighError
from reveals.keeper import Keeper
from reveals.previewing import RevealPlan, preview_reveal
from tokens.management.repairing import SKIPPED, token_ids
from tokens.repairs import RepairResult

ACTOR = "reveal_tokens"
_LISTED = 50

_EXAMPLES = """\
examples:
  manage.py reveal_tokens --token-ids 42 43 44             (shows the cost, then asks)
  manage.py reveal_tokens --token-ids 42-60 --dry-run      (shows it and sends nothing)
  manage.py reveal_tokens --all-ready --yes                (for scripts)

The worker sends them: it has the only sequence of the keeper's nonces.
exit status: 0 requested, 1 nothing was done, 2 some tokens were left out, with the reason.
"""


class Command(BaseCommand):
    help = "Has ready tokens revealed now, through the worker and its gate."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs.setdefault("epilog", _EXAMPLES)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        return super().create_parser(prog_name, subcommand, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--token-ids", type=token_ids, nargs="+", help="As 42 43 44 or 42-60.")
        chosen.add_argument("--all-ready", action="store_true", help="Everything that is ready.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be done.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.KEEPER_PRIVATE_KEY:
            raise CommandError("ENABLE_REVEAL_WORKER is false here: this machine has no keeper.")
        wanted = {i for part in options["token_ids"] or () for i in part}
        planned = request_reveal(
            token_ids=wanted, all_ready=options["all_ready"], actor=ACTOR, dry_run=True
        )
        if not planned:
            self.stdout.write("No token is ready.")
            return
        ready = [result.token_id for result in planned if result.done]
        plan = self._preview(ready)
        self._show(plan)
        left_out = _left_out(planned, plan)
        for token_id, reason in left_out[:_LISTED]:
            self.stdout.write(f"token {token_id} is left out: {reason}")
        if len(left_out) > _LISTED:
            self.stdout.write(f"… and {len(left_out) - _LISTED} more.")
        going = [token_id for batch in plan.batches for token_id in batch.token_ids]
        if going and not options["dry_run"]:
            self._confirm(len(going), yes=options["yes"])
            results = request_reveal(token_ids=going, actor=ACTOR)
            left_out += [(r.token_id, r.message) for r in results if not r.done]
            done = sum(result.done for result in results)
            self.stdout.write(f"{done} tokens are requested; the worker reveals them now.")
        if left_out:
            status = SKIPPED if going else 1
            raise CommandError("Not every token goes; see above.", returncode=status)

    def _preview(self, ready: list[int]) -> RevealPlan:
        try:
            return preview_reveal(
                ChainClient.from_settings(),
                GatewayClient.from_settings(),
                keeper=Keeper.from_settings().address,
                token_ids=ready,
            )
        except (ProviderError, GasPriceTooHighError) as error:
            raise CommandError(f"Nothing can be revealed now: {error}") from error

    def _show(self, plan: RevealPlan) -> None:
        for number, batch in enumerate(plan.batches, 1):
            self.stdout.write(
                f"batch {number}: {len(batch.token_ids)} tokens ({_listed(batch.token_ids)}), "
                f"about {batch.gas:,} gas at {batch.price_per_gas_wei / 1e9:g} gwei: "
                f"{batch.cost_wei / 1e18:.8f} ETH, at most {batch.most_wei / 1e18:.8f}"
            )
        tokens = sum(len(batch.token_ids) for batch in plan.batches)
        cost = sum(batch.cost_wei for batch in plan.batches)
        self.stdout.write(
            f"{tokens} tokens in {len(plan.batches)} transactions, about {cost / 1e18:.8f} ETH "
            "and the chain's L1 data fee."
        )

    def _confirm(self, tokens: int, *, yes: bool) -> None:
        if yes:
            return
        question = f"{tokens} tokens will be revealed, which can never be undone."
        if not sys.stdin.isatty():
            raise CommandError(f"{question} Add --yes to agree. Nothing was done.")
        if input(f"{question} Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")


def _left_out(planned: list[RepairResult], plan: RevealPlan) -> list[tuple[int, str]]:
    """Return the tokens that will not go, by their state here or by the gate, with the reason."""
    by_state = [(result.token_id, result.message) for result in planned if not result.done]
    by_gate = [(objection.token_id, objection.reason) for objection in plan.refused]
    return sorted(by_state + by_gate)


def _listed(ids: list[int]) -> str:
    shown = ", ".join(f"#{token_id}" for token_id in ids[:10])
    return shown if len(ids) <= 10 else f"{shown}, …"
