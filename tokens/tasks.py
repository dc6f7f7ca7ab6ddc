"""What the task queue runs for tokens.

The drain is imported here at the top, so that workers share the memory of what is loaded before
they are forked; only the task queue loads this module.
"""

from glisk.engine.drain import run_drain
from tokens.pipeline import PipelineDrain


def move_tokens() -> int | None:
    """Move tokens from detected to ready until the budget is used up."""
    return run_drain(PipelineDrain)
