"""What the task queue runs for webhooks."""

from webhooks.inbox import process_unfinished


def finish_events() -> int:
    """Process events that were stored and then interrupted; return how many are done."""
    return process_unfinished()
