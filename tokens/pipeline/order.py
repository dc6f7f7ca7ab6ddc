"""Order an image: claim a token, write its job, make the paid call, keep the vendor's id.

token detected or generating, without an open job → generating, job submitted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import transaction

from authors.models import PROMPT_MAX_LENGTH
from glisk.breaker import Breaker
from glisk.clients.image_download import DATA_SCHEME
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import boot_seconds
from glisk.engine.step import Done, Failed
from glisk.errors import (
    NotSentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
    as_provider_error,
)
from glisk.timing import timing
from tokens.models import ImageGenerationJob
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import find, jobs
from tokens.pipeline.collect import Captured, capture_image, not_configured, settle_outcomes
from tokens.pipeline.failures import Failure, settle_failures
from tokens.pipeline.image_vendors import ImageService, ImageStep, paid_call_seconds
from tokens.pipeline.poll import poll_seconds
from tokens.states import TokenStatus
from tokens.transitions import claims
from tokens.transitions.claims import Claim, give_back

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ordered:
    claim: Claim
    job: ImageGenerationJob
    service: ImageService
    claimed_at: float  # before the claim; boot_seconds

    def is_unfinished(self, error: ProviderError) -> Failure:
        """Keep the job open for another call by the same id, until its time is over."""
        over = jobs.age_seconds(self.job.created_at) >= settings.GENERATION_TIMEOUT_SECONDS
        return Failure(self.claim, self.job, error, JobStatus.FAILED if over else None)


@dataclass(frozen=True)
class Answer:
    """`image`: the picture or why there is none, if it came with the answer; `url`: where it is."""

    prediction: Prediction
    image: Captured | ProviderError | None = None
    url: str | None = None


class Order(ImageStep[Ordered, Answer]):
    @property
    def most(self) -> int:
        return int(settings.WORKER_BATCH_SIZE)

    def places(self) -> int:
        return self.services.offer(self.free, self.open_jobs) if self.open_jobs.is_wanted else 0

    def due_in(self) -> float | None:
        stages = (TokenStatus.DETECTED, TokenStatus.GENERATING)
        waits = (self.services.seconds_until_call, claims.seconds_until_next_attempt(*stages))
        return min((wait for wait in waits if wait is not None), default=None)

    def claim(self, limit: int) -> Sequence[Ordered]:
        claimed_at = boot_seconds()  # the leases run from here, whatever happens in between
        with transaction.atomic():
            claimed = claims.claim_for_generation(owner=self.owner, limit=limit)
            faults = [(claim, _fault_of(claim), "validation") for claim in claimed]
            hopeless = [each for each in faults if each[1]]
            claims.fail_tokens(hopeless, source=TokenStatus.GENERATING, owner=self.owner)
            wanted = [claim for claim, fault, _ in faults if not fault]
            calls = list(zip(wanted, self.services.admit(len(wanted)), strict=False))
            made = jobs.create_jobs(
                [(claim, service.name) for claim, service in calls], look_in=timing.lookup_after
            )
            claims.count_generation_attempts(made, owner=self.owner)
            give_back([c for c in wanted if c.token_id not in made], owner=self.owner)
        self.has_put_off = len(made) < len(wanted)
        return [
            Ordered(claim, made[claim.token_id], service, claimed_at)
            for claim, service in calls
            if claim.token_id in made
        ]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return [service.breaker for service in self.services.all]

    def asks(self, work: Ordered) -> Sequence[Breaker]:
        return (work.service.breaker,)

    def leased(self, work: Ordered) -> Sequence[int]:
        return (work.claim.token_id,)

    def call(self, work: Ordered) -> Answer:
        service, send_by = work.service, work.claimed_at + paid_call_seconds()
        prediction = service.create_prediction(work.job, send_by=send_by)
        if not service.repeats_calls:
            return Answer(prediction)
        url = prediction.output_urls[0] if prediction.output_urls else ""
        if not prediction.is_succeeded or not url:
            return Answer(prediction, classify_prediction_failure(prediction, vendor=service.name))
        if not url.startswith(DATA_SCHEME):
            return Answer(prediction, url=url)  # collect fetches it
        try:
            return Answer(prediction, capture_image(service, url=url))
        except Exception as error:  # noqa: BLE001 - what was made is to be stored all the same
            return Answer(prediction, as_provider_error(error, vendor=service.name))

    def settle(
        self, done: Sequence[Done[Ordered, Answer]], failed: Sequence[Failed[Ordered]]
    ) -> None:
        self._record(done)
        outcomes = []
        for each in done:
            work, image = each.work, each.value.image
            work.service.breaker.succeeded()
            if image is not None:
                outcomes.append((work.claim, work.job, image))
        ended = [f for each in failed if (f := self._judge(each.work, each.error)) is not None]
        settle_outcomes(outcomes, ended, owner=self.owner)
        # What waits now for its outcome waits in the row of its job.
        settled = {claim.token_id for claim, *_ in outcomes} | {f.claim.token_id for f in ended}
        works = [each.work for each in done] + [each.work for each in failed]
        give_back([w.claim for w in works if w.claim.token_id not in settled], owner=self.owner)

    def _record(self, done: Sequence[Done[Ordered, Answer]]) -> None:
        """Store the vendor's ids: each is paid for, whether its token is still ours or not."""
        stored = jobs.record_submitted(
            [(each.work.job.pk, each.value.prediction.id) for each in done], look_in=poll_seconds()
        )
        for each in done:
            job, answer = each.work.job, each.value
            if job.pk not in stored:  # its webhook was faster, or the job was given up
                jobs.record_prediction(answer.prediction, job_id=job.pk)
            job.external_id = answer.prediction.id
            if each.work.service.repeats_calls:
                jobs.record_run(
                    job,
                    predict_time_seconds=answer.prediction.predict_time_seconds,
                    output_url=answer.url,
                )

    def _judge(self, work: Ordered, error: Exception) -> Failure | None:
        """Return what a failed call means; None: perhaps paid, so it has to be looked for."""
        service = work.service
        if isinstance(error, NotSentError):
            return Failure(work.claim, work.job, error, JobStatus.REJECTED, vendor_waits=True)
        if isinstance(error, ProviderError) and not isinstance(error, UnknownOutcomeError):
            waits = service.refused(error, age_seconds=boot_seconds() - work.claimed_at)
            return Failure(work.claim, work.job, error, JobStatus.REJECTED, vendor_waits=waits)
        is_down = False
        if isinstance(error, UnknownOutcomeError):
            logger.warning("prediction_outcome_unknown", token_id=work.claim.token_id)
            if error.code == "running":
                service.breaker.succeeded()
            else:
                is_down = service.breaker.failed(error)
            if service.repeats_calls:
                return work.is_unfinished(error)
        else:
            logger.error("creation_failed", token_id=work.claim.token_id, exc_info=error)
        find.look_for(work.job, error, is_down=is_down)
        return None


class Repeat(Order):
    """Calls of unknown outcome that may be made again by our own id, instead of looked for."""

    rare = True

    def places(self) -> int:
        found = self.open_jobs.workable(
            JobStatus.CREATED, JobStatus.SUBMITTED, service=JobService.SELFHOSTED
        )
        return min(self.free, found)

    def due_in(self) -> float | None:
        return None  # Order's covers it

    def claim(self, limit: int) -> Sequence[Ordered]:
        claimed_at, service = boot_seconds(), self.services.selfhosted
        claimed = claims.claim_jobs(
            owner=self.owner,
            limit=min(limit, settings.SELFHOSTED_CONCURRENCY),
            statuses=[JobStatus.CREATED, JobStatus.SUBMITTED],
            service=JobService.SELFHOSTED,
        )
        works, put_off = [], []
        for claim in claimed:
            if service is None:
                gone = Failure(claim, claim.job, not_configured(claim.job), JobStatus.FAILED)
                put_off.append(gone)
                continue
            work = Ordered(claim, claim.job, service, claimed_at)
            if service.breaker.places(1):
                works.append(work)
            else:
                text = f"{service.name}: {service.breaker.reason}"
                put_off.append(work.is_unfinished(TransientError(text, vendor=service.name)))
        settle_failures(put_off, owner=self.owner)
        self.has_put_off = bool(put_off)
        return works


def _fault_of(claim: Claim) -> str:
    """Return why no call is worth making for this token, or an empty text."""
    if not claim.prompt.strip():
        return "The prompt is empty: set the author's prompt, then retry."
    if len(claim.prompt) > PROMPT_MAX_LENGTH:
        return (
            f"The prompt has {len(claim.prompt)} characters; {PROMPT_MAX_LENGTH} are allowed: "
            "shorten the author's prompt, then retry."
        )
    return ""
