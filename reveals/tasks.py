"""What the task queue runs for reveals (see tokens.tasks for why the import stands at the top)."""

from django.conf import settings

from glisk.clients.chain import ChainClient
from glisk.engine.drain import run_drain
from reveals import keeper
from reveals.pipeline.drain import RevealDrain


def reveal_tokens() -> int | None:
    """Move tokens from ready to revealed until the budget is used up."""
    return run_drain(RevealDrain) if settings.ENABLE_REVEAL_WORKER else 0


def look_at_keeper() -> int:
    """Read the keeper's role, chain, balance and gas price; return how many keepers were seen."""
    if not settings.ENABLE_REVEAL_WORKER:
        return 0
    address = keeper.Keeper.from_settings().address
    keeper.look_at_keeper(ChainClient.from_settings(), address=address)
    return 1
