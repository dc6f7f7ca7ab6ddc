"""What the task queue runs for reveals."""

from django.conf import settings


def reveal_tokens() -> int | None:
    """Move tokens from ready to revealed until the budget is used up."""
    if not settings.ENABLE_REVEAL_WORKER:
        return 0
    from glisk.engine.drain import run_drain
    from reveals.drain import RevealDrain

    return run_drain(RevealDrain)
