"""What a failed attempt means for a token: wait, try again, use the fallback prompt, or fail.

| error                                   | token                             | attempt counted |
|-----------------------------------------|-----------------------------------|-----------------|
| vendor down, rate limit, account fault  | waits, goes on by itself          | no              |
| transient, vendor up                    | backoff 1, 2, 4 s; then failed,   | yes             |
|                                         | and taken up again later by itself|                 |
| content policy                          | once more with the fallback prompt| yes             |
| image of a size that no other will mend | failed, with what to do           | yes             |
| success without an image                | failed: not paid for again blindly| yes             |
| permanent, or out of attempts           | failed, with what to do           | yes             |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.db import transaction

from glisk.backoff import backoff_seconds
from glisk.errors import (
    AccountError,
    ArtefactError,
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    ProviderError,
    TransientError,
    error_class_of,
)
from tokens.models import ImageGenerationJob
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import jobs
from tokens.states import TokenStatus
from tokens.transitions.claims import MAX_CLAIMS, Claim, count_generation_attempts
from tokens.transitions.delays import Retry, retry_later
from tokens.transitions.status import Failed, fail_tokens

if TYPE_CHECKING:
    from tokens.pipeline.items import Item

logger = structlog.get_logger(__name__)

# glisk.images and glisk.clients.download: sizes are the model's, not one picture's.
_SIZE_CODES = frozenset({"too_large", "too_many_pixels", "too_small"})

_VENDOR_WAIT_SECONDS = 1.0  # the breaker decides when the next call is made


@dataclass(frozen=True)
class Failure:
    """One item's failed attempt, and what becomes of its job."""

    item: Item
    error: ProviderError
    job_status: JobStatus | None  # None: the job stays open (its image can still be fetched)
    vendor_waits: bool = False  # the breaker is open or the rate is limited

    @property
    def is_waste(self) -> bool:
        """Whether something was paid for, came, and is of no use."""
        came = self.item.job.output_url is not None or isinstance(self.error, NoImageError)
        return came and self.job_status is not None


def begin_attempts(
    claims: Sequence[tuple[Claim, JobService]], *, owner: str
) -> dict[int, ImageGenerationJob]:
    """Write the job rows of the calls that come next; count the attempts."""
    if not claims:
        return {}
    count_generation_attempts(owner=owner, token_ids=[claim.token_id for claim, _ in claims])
    return jobs.create_jobs(
        [
            jobs.NewJob(
                token_id=claim.token_id,
                prompt=settings.FALLBACK_CENSORED_PROMPT if claim.fallback_used else claim.prompt,
                attempt_number=claim.generation_attempts + 1,
                service=service,
            )
            for claim, service in claims
        ]
    )


def fail_claims(failed: Sequence[tuple[Claim, str]], *, owner: str) -> None:
    """Fail claimed tokens for which no call is worth making."""
    rows = [
        Failed(
            claim.token_id,
            claim.attempts,
            why,
            "stalled" if claim.attempts > MAX_CLAIMS else "validation",
        )
        for claim, why in failed
    ]
    fail_tokens(rows, source=TokenStatus.GENERATING, owner=owner)


def settle_failures(failures: Sequence[Failure], *, owner: str) -> None:
    """Decide and write what becomes of the items, all in one transaction."""
    if not failures:
        return
    retries: list[Retry] = []
    lost: list[Failed] = []
    for failure in failures:
        retry = _retry_of(failure)
        if retry is not None:
            retries.append(retry)
        else:
            item = failure.item
            message = _final_message(failure)
            lost.append(Failed(item.token_id, item.attempts, message, _class_of(failure)))
    with transaction.atomic():
        ours = retry_later(retries, owner=owner)
        ours |= fail_tokens(lost, source=TokenStatus.GENERATING, owner=owner)
        for failure in failures:
            # If the lease is lost, somebody else works with this job.
            if failure.job_status is not None and failure.item.token_id in ours:
                jobs.close_jobs(
                    [failure.item.job.pk],
                    status=failure.job_status,
                    error_class=_class_of(failure),
                    error=str(failure.error),
                )


def _retry_of(failure: Failure) -> Retry | None:
    """Return how the token goes on, or None if it fails."""
    item, error = failure.item, failure.error
    waiting = Retry(
        token_id=item.token_id,
        attempts=item.attempts,
        error=str(error),
        error_class=_class_of(failure),
        wait_seconds=_VENDOR_WAIT_SECONDS,
        counted=False,
    )
    refused = failure.job_status == JobStatus.REJECTED
    if refused and (failure.vendor_waits or isinstance(error, AccountError)):
        # Nothing was paid: the attempt is given back with its job.
        return replace(waiting, generation_attempts=item.generation_attempts - 1)
    if failure.job_status is None:
        return replace(waiting, wait_seconds=backoff_seconds(2))
    if isinstance(error, ContentPolicyError):
        return None if item.fallback_used else _with_fallback(waiting, item)
    repeatable = isinstance(error, TransientError | ArtefactError) and not _is_of_the_model(error)
    if not repeatable or item.generation_attempts >= settings.GENERATION_MAX_ATTEMPTS:
        return None
    at_least = error.retry_after_seconds if isinstance(error, TransientError) else None
    return replace(
        waiting,
        wait_seconds=backoff_seconds(item.generation_attempts, at_least=at_least),
        counted=True,
        detail={"job_id": item.job.pk},
    )


def _with_fallback(waiting: Retry, item: Item) -> Retry:
    logger.warning("prompt_censored", token_id=item.token_id, prompt=item.job.prompt)
    return replace(
        waiting,
        error=f"{waiting.error} The fallback prompt is used instead.",
        wait_seconds=0,
        counted=True,
        fallback_used=True,
        detail={"censored": True, "original_prompt": item.job.prompt, "job_id": item.job.pk},
    )


def _final_message(failure: Failure) -> str:
    """Return why the token fails, and what a person has to do."""
    error, tried = failure.error, failure.item.generation_attempts
    if isinstance(error, ContentPolicyError):
        advice = (
            "The fallback prompt was refused too: set another FALLBACK_CENSORED_PROMPT, then retry."
        )
    elif _is_of_the_model(error):
        advice = "Every image of this model would be: check it and IMAGE_MAX_BYTES, then retry."
    elif isinstance(error, ArtefactError):
        advice = f"Given up after {tried} attempts: look at the model's output, then retry."
    elif isinstance(error, NoImageError):
        advice = "Look at the prediction and at the model's output, then retry."
    elif isinstance(error, TransientError):
        advice = f"Given up after {tried} attempts: retry when the vendor is well."
    elif isinstance(error, InvalidRequestError):
        advice = "Check the prompt and REPLICATE_MODEL_VERSION, then retry."
    elif failure.item.job.output_url:
        advice = "The image is paid for: mend the cause and retry while the vendor keeps it (1 h)."
    else:
        advice = "Mend the cause, then retry."
    return f"{error} {advice}"


def _is_of_the_model(error: ProviderError) -> bool:
    """Tell whether another image would be refused for the same reason, and paid for in vain."""
    return isinstance(error, ArtefactError) and error.code in _SIZE_CODES


def _class_of(failure: Failure) -> str:
    return error_class_of(failure.error)
