"""The generation half of the pipeline: claim, pay once, hear of the outcome, capture the bytes.

    claim → job row → creating → waiting → capturing → (storage half)
                         └ reply lost → reconciling ┘

Phases live in memory; everything that must survive a crash is in the job row, so a token that
another worker takes over goes on from there. Handlers may be called twice with one result (the
database was lost in between): each looks at the item's phase first.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.db import transaction

from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.engine.drain import CallResult
from glisk.errors import (
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
    as_provider_error,
)
from tokens import calls, jobs, outcomes
from tokens.calls import Captured, NotSentError
from tokens.capturing import save_captured
from tokens.claims import MAX_CLAIMS, Claim, claim_for_generation, release_claims
from tokens.completions import record_prediction
from tokens.models import ImageGenerationJob
from tokens.models.job import JobStatus
from tokens.outcomes import Failure

if TYPE_CHECKING:
    from tokens.pipeline import PipelineDrain

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.3
POLL_WITH_CALLBACK_SECONDS = 2.0
# How long a call of unknown outcome may take to show up in the vendor's listing.
SETTLE_SECONDS = 15.0
PROMPT_MAX_LENGTH = 1000


class Phase(Enum):
    CREATING = "creating"
    WAITING = "waiting"
    RECONCILING = "reconciling"
    CAPTURING = "capturing"


@dataclass
class Item:
    """A claimed token on its way through the generation."""

    token_id: int
    attempts: int
    generation_attempts: int
    fallback_used: bool
    job: ImageGenerationJob
    phase: Phase
    busy: bool = False  # a call for this item alone is under way
    waiting_since: float = 0.0  # monotonic; when the vendor has had it
    fault: ProviderError | None = None  # an unexpected one, while its call is looked up


class Generation:
    def __init__(self, drain: PipelineDrain) -> None:
        self.drain = drain
        self.client = ReplicateClient.from_settings()
        self.breaker = Breaker("replicate")
        self.items: dict[int, Item] = {}
        self._polled_at = 0.0
        self._polling = False
        self._reconciling = False

    # -- claims -------------------------------------------------------------------------

    def claim(self) -> None:
        """Claim tokens for the free places and start their calls."""
        with_vendor = sum(item.phase is not Phase.CAPTURING for item in self.items.values())
        free = settings.WORKER_BATCH_SIZE - with_vendor
        if free <= 0:
            return
        limit = self.breaker.places(free)
        if limit <= 0:
            return
        with transaction.atomic():
            claimed = claim_for_generation(
                owner=self.drain.owner, limit=limit, lease_seconds=settings.LEASE_SECONDS
            )
            found = jobs.open_jobs(claim.token_id for claim in claimed)
            hopeless = [claim for claim in claimed if _fault_of(claim)]
            if hopeless:
                outcomes.fail_claims(
                    [(claim, _fault_of(claim)) for claim in hopeless], owner=self.drain.owner
                )
            usable = [claim for claim in claimed if not _fault_of(claim)]
            fresh = [claim for claim in usable if claim.token_id not in found]
            made = outcomes.begin_attempts(fresh, owner=self.drain.owner)
        if claimed:
            self.drain.note_claim()
        else:
            self.breaker.give_probe_back()
        for claim in usable:
            job = found.get(claim.token_id)
            resumed = job is not None
            self._take(claim, job or made[claim.token_id], resumed=resumed)

    def _take(self, claim: Claim, job: ImageGenerationJob, *, resumed: bool) -> None:
        item = Item(
            token_id=claim.token_id,
            attempts=claim.attempts,
            generation_attempts=job.attempt_number,
            fallback_used=claim.fallback_used,
            job=job,
            phase=Phase.CREATING,
        )
        self.items[claim.token_id] = item
        if not resumed:
            self._create(item)
        elif job.status == JobStatus.CREATED:
            item.phase = Phase.RECONCILING
        elif job.status == JobStatus.SUCCEEDED:
            self._capture(item)
        else:
            item.phase = Phase.WAITING  # follow() finds what has become of it

    def _create(self, item: Item) -> None:
        item.phase, item.busy = Phase.CREATING, True
        asked_at, job = time.monotonic(), item.job
        self.drain.submit(
            "create",
            item.token_id,
            lambda: calls.create_prediction(
                self.client,
                job_input=job.input,
                webhook_url=_callback_url(job),
                asked_at=asked_at,
            ),
        )

    def _capture(self, item: Item) -> None:
        item.phase, item.busy = Phase.CAPTURING, True
        url = item.job.output_url or ""
        self.drain.submit(
            "capture",
            item.token_id,
            lambda: calls.capture_image(
                url=url,
                allowed_hosts=settings.REPLICATE_OUTPUT_HOSTS,
                max_bytes=settings.IMAGE_MAX_BYTES,
                timeout=settings.HTTP_READ_TIMEOUT_SECONDS,
                cid_version=settings.IMAGE_CID_VERSION,
            ),
        )

    # -- results ------------------------------------------------------------------------

    def take(self, results: list[CallResult]) -> None:
        """Save the finished calls, kind by kind, and start what follows from them."""
        self._created([r for r in results if r.kind == "create"])
        for result in results:
            if result.kind == "poll":
                self._polled(result)
            elif result.kind == "reconcile":
                self._reconciled(result)
            elif result.kind == "overdue":
                self._ended(result)
        self._captured([r for r in results if r.kind == "capture"])

    def _created(self, results: list[CallResult]) -> None:
        accepted = [(r, r.value) for r in results if r.error is None]
        live = [(self.items[r.key], p) for r, p in accepted if self._in(r.key, Phase.CREATING)]
        stored = jobs.record_submitted([(item.job.pk, p.id) for item, p in live])
        for item, prediction in live:
            if item.job.pk not in stored:  # its webhook was faster, or the job was given up
                record_prediction(prediction, job_id=item.job.pk)
            item.job.external_id = prediction.id
            item.phase, item.busy = Phase.WAITING, False
            item.waiting_since = time.monotonic()
        if live:
            self.breaker.succeeded()
        failures = []
        for result in results:
            if result.error is not None and self._in(result.key, Phase.CREATING):
                failure = self._creation_failure(self.items[result.key], result.error)
                if failure is not None:
                    failures.append(failure)
        self._settle(failures)

    def _creation_failure(self, item: Item, error: Exception) -> Failure | None:
        if isinstance(error, NotSentError):
            return Failure(item, error, JobStatus.REJECTED, vendor_waits=True)
        if isinstance(error, ProviderError) and not isinstance(error, UnknownOutcomeError):
            return Failure(item, error, JobStatus.REJECTED, vendor_waits=self._vendor_waits(error))
        # Perhaps paid: look it up before anything else is done.
        if isinstance(error, UnknownOutcomeError):
            logger.warning("prediction_outcome_unknown", token_id=item.token_id)
            self.breaker.failed(error)
        else:
            logger.error("creation_failed", token_id=item.token_id, exc_info=error)
            item.fault = as_provider_error(error, vendor="replicate")
        item.phase, item.busy = Phase.RECONCILING, False
        return None

    def _vendor_waits(self, error: ProviderError) -> bool:
        """Count a fault of the vendor as a whole; tell whether everybody has to wait for it."""
        if isinstance(error, PermanentError) and error.error_class != "account":
            self.breaker.succeeded()  # it answered: it is up
            return False
        return self.breaker.failed(error)

    def _captured(self, results: list[CallResult]) -> None:
        good: list[tuple[Item, Captured]] = []
        failures = []
        for result in results:
            if not self._in(result.key, Phase.CAPTURING):
                continue
            item = self.items[result.key]
            if result.error is None:
                good.append((item, result.value))
            else:
                failures.append(self._capture_failure(item, result.error))
        keep = settings.ENABLE_IPFS_WORKER and not self.drain.stopping
        texts = save_captured(good, owner=self.drain.owner, keep_lease=keep)
        for item, image in good:
            del self.items[item.token_id]
            if item.token_id not in texts:
                logger.info("stale_claim", token_id=item.token_id)
            elif keep:
                self.drain.storage.add(item.token_id, image=image, metadata=texts[item.token_id])
        if good:
            self.drain.note_progress()
        self._settle(failures)

    def _capture_failure(self, item: Item, error: Exception) -> Failure:
        if not isinstance(error, ProviderError):
            logger.error("capture_failed", token_id=item.token_id, exc_info=error)
        fault = as_provider_error(error, vendor="replicate")
        passing = isinstance(fault, TransientError)
        expired = jobs.age_seconds(item.job.created_at) > jobs.OUTPUT_LIFETIME_SECONDS
        return Failure(item, fault, None if passing and not expired else JobStatus.FAILED)

    def _in(self, token_id: int, phase: Phase) -> bool:
        item = self.items.get(token_id)
        return item is not None and item.phase is phase

    def _settle(self, failures: list[Failure]) -> None:
        outcomes.settle_failures(failures, owner=self.drain.owner)
        for failure in failures:
            self.items.pop(failure.item.token_id, None)

    # -- following the vendor -----------------------------------------------------------

    def follow(self) -> None:
        """Look for outcomes that the webhook brought; poll, reconcile and end what is due."""
        waiting = {item.job.pk: item for item in self._waiting(Phase.WAITING)}
        reconciling = {item.job.pk: item for item in self._waiting(Phase.RECONCILING)}
        items = {**waiting, **reconciling}
        if not items:
            return
        failures = []
        for job in jobs.jobs_with_news(waiting=[*waiting], reconciling=[*reconciling]):
            item = items[job.pk]
            item.job = job
            if job.status == JobStatus.SUBMITTED:
                item.phase = Phase.WAITING
            elif job.status == JobStatus.SUCCEEDED:
                self._capture(item)
            elif job.status == JobStatus.ERRORED:
                failures.append(Failure(item, jobs.error_of(job), JobStatus.FAILED))
            else:
                self._drop(item)
        self._settle(failures)
        self._end_overdue()
        self._poll()
        self._reconcile()

    def _drop(self, item: Item) -> None:
        """Stop working on a token whose job somebody else has closed."""
        logger.info("stale_claim", token_id=item.token_id)
        release_claims(owner=self.drain.owner, token_ids=[item.token_id])
        del self.items[item.token_id]

    def _waiting(self, phase: Phase) -> list[Item]:
        return [i for i in self.items.values() if i.phase is phase and not i.busy]

    def _poll(self) -> None:
        now, wait = time.monotonic(), _poll_seconds()
        if self._polling or self.drain.stopping or now - self._polled_at < wait:
            return
        waiting = [i for i in self._waiting(Phase.WAITING) if now - i.waiting_since >= wait]
        if not waiting:
            return
        ids = [item.job.external_id or "" for item in waiting]
        created_after = min(item.job.created_at for item in waiting) - timedelta(minutes=1)
        self._polling, self._polled_at = True, time.monotonic()
        self.drain.submit(
            "poll",
            None,
            lambda: calls.poll_predictions(
                self.client, external_ids=ids, created_after=created_after
            ),
        )

    def _polled(self, result: CallResult) -> None:
        if result.error is None:
            for prediction in result.value:
                if prediction.is_terminal:
                    record_prediction(prediction)
            self.breaker.succeeded()
        else:
            self._read_failed("poll_failed", result.error)
        self._polling, self._polled_at = False, time.monotonic()

    def _end_overdue(self) -> None:
        for item in self._waiting(Phase.WAITING):
            started = item.job.submitted_at or item.job.created_at
            if jobs.age_seconds(started) < settings.GENERATION_TIMEOUT_SECONDS:
                continue
            item.busy = True
            external_id = item.job.external_id or ""
            self.drain.submit(
                "overdue",
                item.token_id,
                lambda external_id=external_id: calls.end_overdue(
                    self.client, external_id=external_id
                ),
            )

    def _ended(self, result: CallResult) -> None:
        item = self.items.get(result.key)
        if result.error is None:
            record_prediction(result.value)
        else:
            self._read_failed("cancel_failed", result.error)
        if item is not None:
            item.busy = False

    def _reconcile(self) -> None:
        due = [
            item
            for item in self._waiting(Phase.RECONCILING)
            if jobs.age_seconds(item.job.created_at) >= SETTLE_SECONDS
        ]
        if not due or self._reconciling or self.drain.stopping or not self.breaker.places(1):
            return
        created_after = min(item.job.created_at for item in due) - timedelta(minutes=1)
        known = jobs.external_ids_since(created_after)
        wanted = [(item.job.pk, item.job.input) for item in due]
        self._reconciling = True
        self.drain.submit(
            "reconcile",
            [item.token_id for item in due],
            lambda: calls.find_lost(
                self.client, wanted=wanted, known_ids=known, created_after=created_after
            ),
        )

    def _reconciled(self, result: CallResult) -> None:
        if result.error is not None:
            self._read_failed("reconciliation_failed", result.error)
            self._reconciling = False
            return
        self.breaker.succeeded()
        missing = []
        for token_id in result.key:
            if not self._in(token_id, Phase.RECONCILING):
                continue
            item = self.items[token_id]
            prediction: Prediction | None = result.value.get(item.job.pk)
            if prediction is not None:
                record_prediction(prediction, job_id=item.job.pk)
                logger.info("prediction_found_again", token_id=token_id, job_id=item.job.pk)
            else:
                never = NotSentError("replicate: the call never arrived", vendor="replicate")
                missing.append(
                    Failure(
                        item,
                        item.fault or never,
                        JobStatus.REJECTED,
                        vendor_waits=item.fault is None,
                    )
                )
        self._settle(missing)
        self._reconciling = False

    def _read_failed(self, event: str, error: Exception) -> None:
        fault = as_provider_error(error, vendor="replicate")
        unexpected = error if fault is not error else None
        logger.warning(event, error=str(fault), exc_info=unexpected)
        self.breaker.failed(fault)

    def next_turn_seconds(self) -> float | None:
        """Return when the vendor has to be asked next, or None if nothing waits for it."""
        if self._waiting(Phase.RECONCILING):
            return 0.5
        waiting = self._waiting(Phase.WAITING)
        if not waiting or self._polling:
            return None
        first = min(item.waiting_since for item in waiting)
        return max(0.01, max(first, self._polled_at) + _poll_seconds() - time.monotonic())


def _poll_seconds() -> float:
    return POLL_WITH_CALLBACK_SECONDS if _callbacks() else POLL_SECONDS


def _callbacks() -> bool:
    return bool(settings.PUBLIC_BASE_URL and settings.REPLICATE_WEBHOOK_SECRETS)


def _callback_url(job: ImageGenerationJob) -> str | None:
    """The job's id in the query finds the job even if the reply to our call is lost."""
    return f"{settings.PUBLIC_BASE_URL}/webhooks/replicate?job={job.pk}" if _callbacks() else None


def _fault_of(claim: Claim) -> str:
    """Return why no call is worth making for this token, or an empty text."""
    if claim.attempts > MAX_CLAIMS:
        return f"Its worker died {claim.attempts - 1} times: look at the workers' logs, then retry."
    if not claim.prompt.strip():
        return "The prompt is empty: set the author's prompt, then retry."
    if len(claim.prompt) > PROMPT_MAX_LENGTH:
        return f"The prompt has {len(claim.prompt)} characters; {PROMPT_MAX_LENGTH} are allowed."
    return ""
