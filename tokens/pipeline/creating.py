"""Make the calls that create predictions, and take their answers.

The answer of one that repeats nothing (Replicate) is an id, and the outcome comes later; one that
repeats its calls by our own id (the self-hosted server) answers with the image.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from glisk.clients.data_uri import SCHEME
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import boot_seconds
from glisk.engine.drain import CallResult
from glisk.errors import (
    NotSentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
    as_provider_error,
)
from tokens.models.job import JobStatus
from tokens.pipeline import calls, jobs
from tokens.pipeline.completions import record_prediction
from tokens.pipeline.items import Item, Phase
from tokens.pipeline.outcomes import Failure
from tokens.pipeline.services import ImageService

if TYPE_CHECKING:
    from tokens.pipeline.generation import Generation

logger = structlog.get_logger(__name__)


class Creation:
    """The part of the generation that asks for images; the items are the generation's."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.drain = generation.drain

    def create(self, item: Item, service: ImageService) -> None:
        item.phase, item.busy = Phase.CREATING, True
        job, send_by = item.job, item.claimed_at + calls.paid_call_seconds()
        self.drain.submit(
            "create",
            item.key,
            lambda: calls.create_prediction(service, job=job, send_by=send_by),
        )

    def create_again(self, item: Item, service: ImageService) -> None:
        """Repeat a call of unknown outcome by its own id, if the service may be asked now."""
        breaker = service.admission.breaker
        if breaker.places(1):
            self.create(item, service)
            return
        error = TransientError(f"{service.name}: {breaker.reason}", vendor=service.name)
        self.generation.settle([self._unfinished(item, error)])

    def _unfinished(self, item: Item, error: ProviderError) -> Failure:
        """Keep the job open for another call by the same id, until its time is over."""
        over = jobs.age_seconds(item.job.created_at) >= settings.GENERATION_TIMEOUT_SECONDS
        return Failure(item, error, JobStatus.FAILED if over else None)

    def take(self, results: list[CallResult]) -> None:
        """Save the answers to the calls of one turn."""
        accepted = [(r, r.value) for r in results if r.error is None]
        held = [(self.generation.held(r.key, Phase.CREATING), p) for r, p in accepted]
        live = [(item, prediction) for item, prediction in held if item is not None]
        # Each one is paid for, whether its token is still ours or not.
        stored = jobs.record_submitted([(r.key[1], p.id) for r, p in accepted])
        for result, prediction in accepted:
            if result.key[1] not in stored:  # its webhook was faster, or the job was given up
                record_prediction(prediction, job_id=result.key[1])
        failures = []
        for item, prediction in live:
            item.job.external_id = prediction.id
            service = self.generation.services.of(item.job)
            if service is not None:
                service.admission.breaker.succeeded()
            # The phase changes last: a result that is delivered again must find it as it was.
            if service is not None and service.repeats_calls:
                failures += self._made(item, prediction)
            else:
                item.phase, item.busy = Phase.WAITING, False
                item.waiting_since = time.monotonic()
        for result in results:
            refused = self.generation.held(result.key, Phase.CREATING)
            if result.error is not None and refused is not None:
                failure = self._creation_failure(refused, result.error)
                if failure is not None:
                    failures.append(failure)
        self.generation.settle(failures)

    def _made(self, item: Item, prediction: Prediction) -> list[Failure]:
        """Go on with a prediction that had ended when its call was answered."""
        item.image = prediction.output_urls[0] if prediction.output_urls else None
        inline = item.image is not None and item.image.startswith(SCHEME)
        jobs.record_run(
            item.job,
            predict_time_seconds=prediction.predict_time_seconds,
            output_url=None if inline else item.image,
        )
        if prediction.is_succeeded and item.image:
            self.generation.capture(item)
            return []
        error = classify_prediction_failure(prediction, vendor=item.job.service)
        return [Failure(item, error, JobStatus.FAILED)]

    def _creation_failure(self, item: Item, error: Exception) -> Failure | None:
        service = self.generation.services.of(item.job) or self.generation.services.replicate
        breaker = service.admission.breaker
        if isinstance(error, NotSentError):
            return Failure(item, error, JobStatus.REJECTED, vendor_waits=True)
        if isinstance(error, ProviderError) and not isinstance(error, UnknownOutcomeError):
            age = boot_seconds() - item.claimed_at
            waits = service.admission.failed(error, age_seconds=age)
            return Failure(item, error, JobStatus.REJECTED, vendor_waits=waits)
        # Perhaps paid: look it up before anything else is done.
        if isinstance(error, UnknownOutcomeError):
            logger.warning("prediction_outcome_unknown", token_id=item.token_id)
            is_down = False
            if error.code == "running":
                breaker.succeeded()
            else:
                is_down = breaker.failed(error)
            if service.repeats_calls:
                return self._unfinished(item, error)
            if error.status is not None and not is_down:
                item.fault = _as_refusal(error)
        else:
            logger.error("creation_failed", token_id=item.token_id, exc_info=error)
            item.fault = as_provider_error(error, vendor="replicate")
        self.generation.follower.look_up(item)
        return None


def _as_refusal(error: UnknownOutcomeError) -> TransientError:
    """Return what such an answer meant, once it is sure that the vendor has no such call."""
    answer = error.message.partition(" | ")[0]
    return TransientError(
        f"{answer} | The vendor's listing does not show it: nothing was paid.",
        vendor=error.vendor,
        status=error.status,
        code=error.code,
        retry_after_seconds=error.retry_after_seconds,
    )
