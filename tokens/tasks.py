"""What the task queue runs for tokens.

The drain is imported here at the top, so that workers share the memory of what is loaded before
they are forked; only the task queue loads this module.
"""

from django.conf import settings

from glisk.engine.drain import run_drain
from tokens.pipeline.drain import GenerationDrain, UploadDrain
from tokens.pipeline.spend import close_days
from tokens.recovery import schedule
from tokens.repairs import retry_what_is_due


def generate_images() -> int | None:
    """Move tokens from detected to uploading until the budget is used up."""
    return run_drain(GenerationDrain) if settings.ENABLE_IMAGE_WORKER else 0


def upload_files() -> int | None:
    """Move tokens from uploading to ready until the budget is used up."""
    return run_drain(UploadDrain) if settings.ENABLE_IPFS_WORKER else 0


def look_at_chain() -> int:
    """Read what is new on the chain; return how many tokens it brought."""
    return schedule.look_at_chain()


def prove_completeness() -> int:
    """Fill gaps and compare with the contract; return how many tokens were mended."""
    return schedule.prove_completeness()


def compare_everything(since_id: int = 1) -> int:
    """Compare every token with the contract, as an operator asked; return how many differ."""
    return schedule.compare_everything(since_id)


def close_spend_days() -> int:
    """Write down what the days have cost that nothing changes any more."""
    return close_days()


def retry_failed() -> int:
    """Take failed tokens up again that only needed time; return how many."""
    return retry_what_is_due()
