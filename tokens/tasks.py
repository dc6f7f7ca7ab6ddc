"""What the task queue runs for tokens: two resident drains, and what runs by the clock.

All is imported here at the top, so that workers share the memory of what is loaded before they
are forked; only the task queue loads this module.
"""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings

from glisk.engine.drain import Drain, run_drain
from glisk.engine.process import keep_freed_memory
from glisk.pauses import Pauses
from tokens.models.job import JobService, JobStatus
from tokens.pipeline.collect import Collect
from tokens.pipeline.find import Find
from tokens.pipeline.image_vendors import OpenJobs, Services
from tokens.pipeline.order import Order, Repeat
from tokens.pipeline.pin import Pin
from tokens.pipeline.poll import Poll
from tokens.pipeline.samples import Sample
from tokens.recovery.schedule import compare_everything, look_at_chain, prove_completeness
from tokens.repairs import retry_what_is_due as retry_failed
from tokens.timeline import add_up_timeline
from tokens.totals import close_days as close_spend_days
from tokens.transitions import PIPELINE_CHANNEL, UPLOAD_CHANNEL, claims

__all__ = [
    "add_up_timeline",
    "close_spend_days",
    "compare_everything",
    "generate_images",
    "look_at_chain",
    "prove_completeness",
    "retry_failed",
    "upload_files",
]


class _TokenDrain(Drain):
    one_per_worker = True

    @property
    def longest_freeze_seconds(self) -> float:
        """With `paid_call_seconds`, 3/4 of a lease: then nobody else has the token yet."""
        return float(settings.LEASE_SECONDS) / 2

    def prepare(self) -> None:
        keep_freed_memory()
        self.pauses = Pauses()

    def renew(self, ids: Collection[int]) -> None:
        claims.renew_leases(owner=self.owner, token_ids=ids)

    def free_all_but(self, ids: Collection[int]) -> None:
        claims.free_all_but(ids, owner=self.owner)


class GenerationDrain(_TokenDrain):
    stage = "generation"
    task = "tokens.tasks.generate_images"
    channels = (PIPELINE_CHANNEL,)

    def prepare(self) -> None:
        super().prepare()
        self.open_jobs = OpenJobs()
        self.services = Services(self.pauses)
        # What is paid for comes first, and what was lost before new calls.
        steps = (Collect, Poll, Find, Repeat, Order, Sample)
        self.steps = [step(self.owner, self.open_jobs, self.services) for step in steps]

    def survey(self) -> None:
        self.open_jobs.read()
        self.services.replicate.note_clock()

    @property
    def load(self) -> int:
        return self.in_flight + self.open_jobs.waiting(JobStatus.SUBMITTED, JobService.REPLICATE)


class UploadDrain(_TokenDrain):
    stage = "upload"
    task = "tokens.tasks.upload_files"
    channels = (UPLOAD_CHANNEL,)

    def prepare(self) -> None:
        super().prepare()
        self.steps = [Pin(self.owner, self.pauses)]


def generate_images() -> int | None:
    """Move tokens from detected to uploading until the budget is used up."""
    return run_drain(GenerationDrain) if settings.ENABLE_IMAGE_WORKER else 0


def upload_files() -> int | None:
    """Move tokens from uploading to ready until the budget is used up."""
    return run_drain(UploadDrain) if settings.ENABLE_IPFS_WORKER else 0
