"""Has ready tokens revealed now; shows the batches, the gas and the cost before it asks."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.admin.actions import ranged
from glisk.clients.chain import ChainClient
from glisk.clients.ipfs import GatewayClient
from glisk.engine.heartbeat import stages_alive
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, confirm, counted
from glisk.pauses import list_pauses
from reveals.by_hand import RevealPlan, preview_reveal, request_reveal
from reveals.keeper import GasPriceTooHighError, keeper_address
from tokens.management.repairing import SKIPPED, token_ids

ACTOR = "reveal_tokens"
NO_WORKER = 3


class Command(ExplainedCommand):
    help = "Has ready tokens revealed now, through the worker and its gate."
    examples = """\
examples:
  manage.py reveal_tokens --token-ids 3,7,20-25           (shows the cost, then asks)
  manage.py reveal_tokens --token-ids 42-60 --dry-run      (shows it and sends nothing)
  manage.py reveal_tokens --all-ready --yes                (for scripts)

The worker sends them: it has the only sequence of the keeper's nonces.
exit status: 0 requested, 1 nothing was done, 2 some tokens were left out, with the reason,
3 requested, but no living worker reveals.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--token-ids", type=token_ids, nargs="+", help="As 3,7,20-25.")
        chosen.add_argument("--all-ready", action="store_true", help="Everything that is ready.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be done.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not keeper_address():
            raise CommandError("This machine has no keeper: set KEEPER_ADDRESS, or start a worker.")
        wanted = {i for part in options["token_ids"] or () for i in part}
        planned = request_reveal(
            token_ids=wanted, all_ready=options["all_ready"], actor=ACTOR, dry_run=True
        )
        if not planned:
            self.stdout.write("No token is ready.")
            return
        plan = self._preview([result.token_id for result in planned if result.done])
        self._show(plan)
        left_out = [(result.token_id, result.message) for result in planned if not result.done]
        left_out += [(refusal.token_id, refusal.reason) for refusal in plan.refused]
        for token_id, reason in sorted(left_out):
            self.stdout.write(f"token {token_id} is left out: {reason}")
        going = plan.token_ids
        if going and not options["dry_run"]:
            question = f"To be revealed: {counted(len(going), 'token')}, which can never be undone."
            confirm(question, yes=options["yes"])
            results = request_reveal(token_ids=going, actor=ACTOR)
            left_out += [(r.token_id, r.message) for r in results if not r.done]
            done = sum(result.done for result in results)
            alive = "reveal" in stages_alive()
            when = _when() if alive else ""
            self.stdout.write(f"Requested: {counted(done, 'token')}. {when}".rstrip())
            if done and not alive:
                raise CommandError(
                    "No living worker does the reveal: they go when one starts (make worker) with "
                    "ENABLE_REVEAL_WORKER=true.",
                    returncode=NO_WORKER,
                )
        if left_out:
            status = SKIPPED if going else 1
            raise CommandError("Not every token goes; see above.", returncode=status)

    def _preview(self, ready: list[int]) -> RevealPlan:
        try:
            return preview_reveal(
                ChainClient.from_settings(),
                GatewayClient(),
                keeper=keeper_address(),
                token_ids=ready,
            )
        except (ProviderError, GasPriceTooHighError) as error:
            raise CommandError(f"Nothing can be revealed now: {error}") from error

    def _show(self, plan: RevealPlan) -> None:
        for number, batch in enumerate(plan.batches, 1):
            self.stdout.write(
                f"batch {number}: {counted(len(batch.token_ids), 'token')} "
                f"({ranged(batch.token_ids)}), about {batch.gas:,} gas at "
                f"{batch.price_per_gas_wei / 1e9:g} gwei: {_ether(batch.cost_wei)}, "
                f"at most {_ether(batch.most_wei)}"
            )
        if not plan.batches:
            return
        cost_wei = sum(batch.cost_wei for batch in plan.batches)
        most_wei = sum(batch.most_wei for batch in plan.batches)
        self.stdout.write(
            f"{counted(len(plan.token_ids), 'token')} in "
            f"{counted(len(plan.batches), 'transaction')}, about {_ether(cost_wei)}, "
            "the chain's L1 data fee included."
        )
        if plan.balance_wei < most_wei:
            self.stdout.write(
                f"The keeper has {_ether(plan.balance_wei)}, and it may cost {_ether(most_wei)}: "
                "what it cannot pay for waits until it is topped up."
            )


def _when() -> str:
    paused = next((pause for pause in list_pauses() if pause.stage == "reveal"), None)
    if paused is None:
        return "The worker reveals them now."
    return f"Reveals are paused by {paused.actor} ({paused.reason}): they go when that is over."


def _ether(wei: int) -> str:
    return f"{wei / 1e18:.8f} ETH"
