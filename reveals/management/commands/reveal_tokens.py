"""Has ready tokens revealed now, waits for it, and does it itself where no worker lives."""

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser

from glisk.admin.actions import ranged
from glisk.clients.chain import ChainClient
from glisk.clients.ipfs import GatewayClient
from glisk.engine.process import Flag
from glisk.errors import ProviderError
from glisk.management.base import ExplainedCommand, at_least, confirm, counted
from reveals.by_hand import RevealPlan, preview_reveal, request_reveal
from reveals.keeper import GasPriceTooHighError, can_sign, keeper_address
from reveals.until_revealed import Progress, wait_until_revealed
from tokens.management.repairing import SKIPPED, TokenIds
from tokens.registry import in_flight

ACTOR = "reveal_tokens"


class Command(ExplainedCommand):
    help = "Has ready tokens revealed now, and waits for it; does it itself if no worker lives."
    examples = """\
examples:
  manage.py reveal_tokens --token-ids 3,7,20-25           (shows the cost, asks, waits)
  manage.py reveal_tokens --token-ids 42-60 --dry-run      (shows it and sends nothing)
  manage.py reveal_tokens --all-ready --yes --timeout 600  (for scripts)

The worker sends them, since the keeper has one sequence of nonces. Where no worker lives, this
command runs the worker's part under the worker's slot; that needs the keeper's key.
Ctrl-C is safe at any time: what is signed is stored, and a worker or this command goes on with it.
exit status: 0 all are revealed, 1 none is, 2 some are, with the reasons.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--token-ids", action=TokenIds, help="As 3,7,20-25.")
        chosen.add_argument("--all-ready", action="store_true", help="Everything that is ready.")
        parser.add_argument("--dry-run", action="store_true", help="Only show what would be done.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument(
            "--timeout",
            type=at_least(0),
            default=300,
            metavar="SECONDS",
            help="Wait so long at most (300); 0 only asks the worker. The request stays.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not keeper_address():
            raise CommandError("This machine has no keeper: set KEEPER_ADDRESS, or start a worker.")
        wanted = set(options["token_ids"] or ())
        planned = request_reveal(
            token_ids=wanted, all_ready=options["all_ready"], actor=ACTOR, dry_run=True
        )
        if not planned:
            raise CommandError("No token is ready.")
        under_way = in_flight(result.token_id for result in planned)
        plan = self._preview([result.token_id for result in planned if result.done])
        self._show(plan)
        skipped = {r.token_id: r.message for r in planned if not r.done}
        skipped |= {refusal.token_id: refusal.reason for refusal in plan.refused}
        going = [*plan.token_ids, *under_way]
        if options["dry_run"] or not going:
            self._sum_up([], skipped, plan.token_ids)
            return
        if plan.token_ids:
            count = counted(len(plan.token_ids), "token")
            confirm(f"To be revealed: {count}, which can never be undone.", yes=options["yes"])
            results = request_reveal(token_ids=plan.token_ids, actor=ACTOR)
            skipped |= {r.token_id: r.message for r in results if not r.done}
            self.stdout.write(f"Requested: {counted(sum(r.done for r in results), 'token')}.")
        found = self._wait(going, options["timeout"])
        self._sum_up(found, {i: why for i, why in skipped.items() if i not in going}, [])

    def _wait(self, going: Collection[int], timeout_seconds: float) -> Sequence[Progress]:
        with _stopped_by_signals(self._tell) as stop:
            return wait_until_revealed(
                going,
                timeout_seconds=timeout_seconds,
                can_sign=can_sign(),
                stop=stop,
                tell=self._tell,
            )

    def _tell(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _sum_up(
        self, found: Sequence[Progress], skipped: Mapping[int, str], would_go: Collection[int]
    ) -> None:
        """Write a line per token that has an outcome; raise unless all is well."""
        lines = {token_id: f"skipped: {reason}" for token_id, reason in skipped.items()}
        lines |= {each.token_id: _outcome(each) for each in found}
        for token_id in sorted(lines):
            self.stdout.write(f"token {token_id}: {lines[token_id]}")
        done = [each for each in found if each.revealed]
        if would_go and skipped:
            raise CommandError("Some tokens would be skipped; see above.", returncode=SKIPPED)
        if not done and not would_go:
            raise CommandError("No token was revealed; see above.")
        if len(done) < len(lines):
            raise CommandError("Some tokens were skipped; see above.", returncode=SKIPPED)

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


def _outcome(each: Progress) -> str:
    if each.revealed:
        block = f" in block {each.block_number}" if each.block_number is not None else ""
        return f"revealed by {each.tx_hash or 'somebody else'}{block}"
    sent = f" (transaction {each.tx_hash})" if each.tx_hash else ""
    return f"{'not revealed yet' if each.waits else 'skipped'}: {each.reason}{sent}"


@contextmanager
def _stopped_by_signals(tell: Callable[[str], None]) -> Iterator[Flag]:
    """Yield a flag that Ctrl-C sets: work ends in order; a second Ctrl-C ends it at once."""
    stop, handlers = Flag(), dict[int, Any]()
    signals: list[object] = []

    def end_in_order(*received: object) -> None:
        signals.append(received)
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, end_in_order)
    try:
        yield stop
    finally:
        restore()
        if signals:
            tell(
                "Interrupted: what is signed is stored, and goes on with a worker or this command."
            )
        stop.close()


def _ether(wei: int) -> str:
    return f"{wei / 1e18:.8f} ETH"
