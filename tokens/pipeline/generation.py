"""The generation half of the pipeline: claim, pay once, hear of the outcome, capture the bytes.

    claim → job row → creating → waiting → capturing → (storage half)
                         └ reply lost → reconciling ┘

Phases live in memory; everything that must survive a crash is in the job row, so a token that
another worker takes over goes on from there. Handlers may be called twice with one result (the
database was lost in between): each looks at the item's phase first.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.db import transaction

from glisk.clock import boot_seconds
from glisk.engine.drain import CallResult
from glisk.errors import (
    ProviderError,
    TransientError,
    as_provider_error,
)
from tokens.models import ImageGenerationJob
from tokens.models.job import JobStatus
from tokens.pipeline import calls, jobs, outcomes
from tokens.pipeline.calls import Captured
from tokens.pipeline.capturing import save_captured
from tokens.pipeline.creating import Creation
from tokens.pipeline.following import Follower
from tokens.pipeline.items import Item, Phase
from tokens.pipeline.outcomes import Failure
from tokens.pipeline.services import ImageService, Services
from tokens.pipeline.waste import pause_if_wasted
from tokens.transitions.claims import MAX_CLAIMS, Claim, claim_for_generation, release_claims

if TYPE_CHECKING:
    from tokens.pipeline.drain import PipelineDrain

logger = structlog.get_logger(__name__)

PROMPT_MAX_LENGTH = 1000
_DECODERS = 2  # a hundred pictures of 1024 pixels a second and more


class Generation:
    def __init__(self, drain: PipelineDrain) -> None:
        self.drain = drain
        self.services = Services(drain.pauses)
        self.client = self.services.replicate.client
        self.items: dict[int, Item] = {}
        self.creation = Creation(self)
        self.follower = Follower(self)
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")

    def close(self) -> None:
        self._decoders.shutdown(wait=False, cancel_futures=True)

    # -- claims -------------------------------------------------------------------------

    def claim(self) -> None:
        """Claim tokens for the free places and start their calls."""
        places = settings.WORKER_BATCH_SIZE
        capturing = sum(item.phase is Phase.CAPTURING for item in self.items.values())
        # What waits for a vendor that is down must not keep another one from working.
        held = len(self.items) - sum(self._is_stuck(item) for item in self.items.values())
        # A slow download takes no vendor's place, but images must not pile up either.
        free = min(places - (held - capturing), 2 * places - held)
        if free <= 0:
            return
        busy = Counter(item.job.service for item in self.items.values() if item.busy)
        limit = self.services.places(free, busy=busy, replicate=self.follower.most_new_calls)
        if limit < free:
            free -= self._claim(free, resuming=True)
        if min(limit, free) > 0:
            self._claim(min(limit, free))

    def _is_stuck(self, item: Item) -> bool:
        if item.phase is Phase.RECONCILING:
            return self.follower.listing.is_open or item.looks > 0
        if item.phase is not Phase.WAITING:
            return False
        service = self.services.of(item.job)
        return self.follower.reads.is_open or (
            service is not None and service.admission.breaker.is_open
        )

    def _claim(self, limit: int, *, resuming: bool = False) -> int:
        """Claim tokens and start their calls; `resuming`: only what is paid for already."""
        claimed_at = boot_seconds()  # the leases run from here, whatever happens in between
        with transaction.atomic():
            claimed = claim_for_generation(
                owner=self.drain.owner,
                limit=limit,
                lease_seconds=settings.LEASE_SECONDS,
                resuming=resuming,
            )
            found = jobs.open_jobs(claim.token_id for claim in claimed)
            hopeless = [claim for claim in claimed if _fault_of(claim)]
            if hopeless:
                outcomes.fail_claims(
                    [(claim, _fault_of(claim)) for claim in hopeless], owner=self.drain.owner
                )
            usable = [claim for claim in claimed if not _fault_of(claim)]
            fresh = [claim for claim in usable if claim.token_id not in found]
            admitted = self.services.admit(len(fresh)) if fresh and not resuming else []
            chosen = list(zip(fresh, admitted, strict=False))
            made = outcomes.begin_attempts(
                [(claim, service.name) for claim, service in chosen], owner=self.drain.owner
            )
            release_claims(
                owner=self.drain.owner,
                token_ids=[claim.token_id for claim in fresh[len(chosen) :]],
            )
        if claimed:
            self.drain.note_claim()
        if not resuming:
            self.services.give_probes_back(admitted)
        for claim in usable:
            job = found.get(claim.token_id) or made.get(claim.token_id)
            if job is not None:
                self._take(claim, job, claimed_at, resumed=claim.token_id in found)
        return len(claimed)

    def _take(
        self, claim: Claim, job: ImageGenerationJob, claimed_at: float, *, resumed: bool
    ) -> None:
        item = Item(
            token_id=claim.token_id,
            attempts=claim.attempts,
            generation_attempts=job.attempt_number,
            fallback_used=claim.fallback_used,
            job=job,
            phase=Phase.CREATING,
            claimed_at=claimed_at,
        )
        self.items[claim.token_id] = item
        service = self.services.of(job)
        if service is None:
            text = f"{job.service}: it is not configured any more; the image is made anew."
            error = TransientError(text, vendor=job.service)
            self.settle([Failure(item, error, JobStatus.FAILED)])
        elif not resumed:
            self.creation.create(item, service)
        elif service.repeats_calls and job.status in (JobStatus.CREATED, JobStatus.SUBMITTED):
            self.creation.create_again(item, service)
        elif job.status == JobStatus.CREATED:
            item.phase = Phase.RECONCILING
        elif job.status == JobStatus.SUCCEEDED:
            self.capture(item)
        else:
            item.phase = Phase.WAITING  # follow() finds what has become of it

    def capture(self, item: Item) -> None:
        item.phase, item.busy = Phase.CAPTURING, True
        url = item.image or item.job.output_url or ""
        service = self.services.of(item.job) or self.services.replicate
        self.drain.submit("capture", item.key, lambda: self.fetch(service, url))

    def fetch(self, service: ImageService, url: str) -> Captured:
        """Fetch and check an image that a service has made; runs in a thread."""
        return calls.capture_image(
            self._decoders,
            url=url,
            vendor=service.name,
            allowed_hosts=service.output_hosts,
            max_bytes=settings.IMAGE_MAX_BYTES,
            timeout=settings.HTTP_READ_TIMEOUT_SECONDS,
            cid_version=settings.IMAGE_CID_VERSION,
        )

    # -- results ------------------------------------------------------------------------

    def take(self, results: list[CallResult]) -> None:
        """Save the finished calls, kind by kind, and start what follows from them."""
        self.creation.take([r for r in results if r.kind == "create"])
        for result in results:
            self.follower.take(result)
        self._captured([r for r in results if r.kind == "capture"])

    def _captured(self, results: list[CallResult]) -> None:
        good: list[tuple[Item, Captured]] = []
        failures = []
        for result in results:
            item = self.held(result.key, Phase.CAPTURING)
            if item is None:
                continue
            if result.error is None:
                good.append((item, result.value))
            else:
                failures.append(self._capture_failure(item, result.error))
        keep = not self.drain.stopping and self.drain.storage.has_room(len(good))
        texts = save_captured(good, owner=self.drain.owner, keep_lease=keep)
        for item, image in good:
            del self.items[item.token_id]
            if item.token_id not in texts:
                logger.info("stale_claim", token_id=item.token_id)
            elif keep:
                self.drain.storage.add(item.token_id, image=image, metadata=texts[item.token_id])
        if good:
            self.drain.note_progress()
        self.settle(failures)

    def _capture_failure(self, item: Item, error: Exception) -> Failure:
        if not isinstance(error, ProviderError):
            logger.error("capture_failed", token_id=item.token_id, exc_info=error)
        fault = as_provider_error(error, vendor="replicate")
        passing = isinstance(fault, TransientError)
        expired = jobs.age_seconds(item.job.created_at) > jobs.OUTPUT_LIFETIME_SECONDS
        return Failure(item, fault, None if passing and not expired else JobStatus.FAILED)

    def held(self, key: tuple[int, int], phase: Phase) -> Item | None:
        """Return the item that a call was made for, if it still waits for just that call."""
        item = self.items.get(key[0])
        return item if item is not None and item.phase is phase and item.key == key else None

    def settle(self, failures: list[Failure]) -> None:
        outcomes.settle_failures(failures, owner=self.drain.owner)
        for failure in failures:
            self.items.pop(failure.item.token_id, None)
        if wasted := [failure.error for failure in failures if failure.is_waste]:
            pause_if_wasted(str(wasted[-1]))


def _fault_of(claim: Claim) -> str:
    """Return why no call is worth making for this token, or an empty text."""
    if claim.attempts > MAX_CLAIMS:
        return f"Its worker died {claim.attempts - 1} times: look at the workers' logs, then retry."
    if not claim.prompt.strip():
        return "The prompt is empty: set the author's prompt, then retry."
    if len(claim.prompt) > PROMPT_MAX_LENGTH:
        return (
            f"The prompt has {len(claim.prompt)} characters; {PROMPT_MAX_LENGTH} are allowed: "
            "shorten the author's prompt, then retry."
        )
    return ""
