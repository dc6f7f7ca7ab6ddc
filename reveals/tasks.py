"""What the task queue runs for reveals (see tokens.tasks for why the import stands at the top)."""

from django.conf import settings

from glisk.engine.drain import run_drain
from reveals import keeper_watch
from reveals.pipeline.drain import RevealDrain


def reveal_tokens() -> int | None:
    """Move tokens from ready to revealed until the budget is used up."""
    return run_drain(RevealDrain) if settings.ENABLE_REVEAL_WORKER else 0


def look_at_keeper() -> int:
    """Read the keeper's role, chain, balance and gas price; return how many keepers were seen."""
    return keeper_watch.look()


def follow_up_reveals() -> int:
    """Do nothing: the drain does it. A worker of the release before may still enqueue this."""
    return 0
