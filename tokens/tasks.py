"""What the task queue runs for tokens: ids or nothing in, a number out."""


def move_tokens() -> int | None:
    """Move tokens from detected to ready until the budget is used up."""
    from glisk.engine.drain import run_drain
    from tokens.pipeline import PipelineDrain

    return run_drain(PipelineDrain)
