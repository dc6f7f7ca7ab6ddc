"""What the task queue runs for tokens.

The drain is imported here at the top, so that workers share the memory of what is loaded before
they are forked; only the task queue loads this module.
"""

from django.conf import settings

from glisk.engine.drain import run_drain
from tokens.pipeline.drain import GenerationDrain, UploadDrain
from tokens.recovery.schedule import compare_everything, look_at_chain, prove_completeness
from tokens.repairs import retry_what_is_due as retry_failed
from tokens.totals import close_days as close_spend_days

__all__ = [
    "close_spend_days",
    "compare_everything",
    "generate_images",
    "look_at_chain",
    "prove_completeness",
    "retry_failed",
    "upload_files",
]


def generate_images() -> int | None:
    """Move tokens from detected to uploading until the budget is used up."""
    return run_drain(GenerationDrain) if settings.ENABLE_IMAGE_WORKER else 0


def upload_files() -> int | None:
    """Move tokens from uploading to ready until the budget is used up."""
    return run_drain(UploadDrain) if settings.ENABLE_IPFS_WORKER else 0
