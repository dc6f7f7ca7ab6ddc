"""What the task queue runs for reveals: the resident drain, and a look at the keeper.

The drain takes tokens from ready to revealed, by its steps:

    verify → compose → sign → send → receipts → watch → after

There is one in all, since one keeper has one sequence of nonces: so its claims need no lease. A
batch that a drain before it left unsigned or unsent stands in its row. See tokens.tasks for why
the imports stand at the top.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from glisk.clients.chain import ChainClient
from glisk.engine.drain import Drain, run_drain
from glisk.engine.process import recycle_after_task
from glisk.pauses import Pauses
from reveals import keeper, outbox
from reveals.costs import add_up_costs
from reveals.outbox import RevealStep, Shared
from reveals.pipeline.after import ReadBack, Refresh
from reveals.pipeline.compose import Compose
from reveals.pipeline.receipts import Receipts
from reveals.pipeline.send import Send
from reveals.pipeline.sign import Sign
from reveals.pipeline.verify import Verify
from reveals.pipeline.watch import FillGap, Watch
from tokens.transitions import REVEAL_CHANNEL


class RevealDrain(Drain):
    stage = "reveal"
    task = "reveals.tasks.reveal_tokens"
    channels = (REVEAL_CHANNEL,)

    @property
    def load(self) -> int:
        return self.in_flight + len(self.shared.ready.waiting)

    def prepare(self) -> None:
        if settings.KEEPER_KEY_FILE.path:  # it reads the key, which no other task shall meet
            recycle_after_task()
        who, shared = self.owner, Shared()
        self.pauses, self.shared = Pauses(), shared
        verify = Verify(who, shared)
        others: list[type[RevealStep[Any, Any]]] = [Sign, Send, Receipts, Watch, FillGap, ReadBack]
        if settings.OPENSEA_API_KEY:
            others.append(Refresh)
        compose = Compose(who, shared, verify)
        self.steps = [verify, compose, *(step(who, shared) for step in others)]
        # Nobody knows how long ago the drain before it ended: the chain is asked before anything
        # of it is sent, and then that is sent at once.
        outbox.review_all_now()

    def survey(self) -> None:
        """Read what waits and what is open; a pause lets nothing new begin."""
        self.shared.read(paused=self.pauses.is_paused("reveal"))


def reveal_tokens() -> int | None:
    """Move tokens from ready to revealed until the budget is used up."""
    return run_drain(RevealDrain) if settings.ENABLE_REVEAL_WORKER else 0


def look_at_keeper() -> int:
    """Read the keeper's role, chain, balance and gas price; return how many keepers were seen.

    And add up what reveals have cost.
    """
    add_up_costs()
    if not settings.ENABLE_REVEAL_WORKER:
        return 0
    keeper.look_at_keeper(ChainClient.from_settings(), address=keeper.keeper_address())
    return 1
