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

import structlog
from django.conf import settings
from django.db import connection, transaction

from glisk.errors import (
    AccountError,
    ArtefactError,
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    ProviderError,
    TransientError,
    backoff_seconds,
    error_class_of,
)
from glisk.pauses import SPEND_GUARD, pause_stage
from glisk.timing import timing
from tokens.models import ImageGenerationJob
from tokens.models.job import JobStatus
from tokens.pipeline import jobs
from tokens.states import TokenStatus
from tokens.transitions.claims import Claim, Retry, fail_tokens, retry_later

logger = structlog.get_logger(__name__)

# glisk.clients.image_download: sizes are the model's, not one picture's.
_SIZE_CODES = frozenset({"too_large", "too_many_pixels", "too_small"})

_LOOK_BACK = 2000  # among them may be open ones, refused prompts, and those before a resume


@dataclass(frozen=True)
class Failure:
    """A claimed token's failed attempt, and what becomes of its job."""

    claim: Claim
    job: ImageGenerationJob
    error: ProviderError
    job_status: JobStatus | None  # None: the job stays open (its image can still be fetched)
    vendor_waits: bool = False  # the breaker is open or the rate is limited

    @property
    def is_waste(self) -> bool:
        """Whether something was paid for, came, and is of no use."""
        came = self.job.output_url is not None or isinstance(self.error, NoImageError)
        return came and self.job_status is not None


def settle_failures(failures: Sequence[Failure], *, owner: str) -> None:
    """Decide and write what becomes of the tokens, all in one transaction."""
    if not failures:
        return
    decided = [(failure, _retry_of(failure)) for failure in failures]
    retries = [retry for _, retry in decided if retry is not None]
    lost = [
        (failure.claim, _final_message(failure), error_class_of(failure.error))
        for failure, retry in decided
        if retry is None
    ]
    with transaction.atomic():
        ours = retry_later(retries, owner=owner)
        ours |= fail_tokens(lost, source=TokenStatus.GENERATING, owner=owner)
        for failure in failures:
            # If the lease is lost, somebody else works with this job.
            if failure.job_status is not None and failure.claim.token_id in ours:
                jobs.close_jobs(
                    [failure.job.pk],
                    status=failure.job_status,
                    error_class=error_class_of(failure.error),
                    error=str(failure.error),
                )
    if wasted := [failure.error for failure in failures if failure.is_waste]:
        pause_if_wasted(str(wasted[-1]))


def _retry_of(failure: Failure) -> Retry | None:
    """Return how the token goes on, or None if it fails."""
    claim, job, error = failure.claim, failure.job, failure.error
    waiting = Retry(
        claim=claim,
        error=str(error),
        error_class=error_class_of(error),
        wait_seconds=timing.vendor_wait,
        counted=False,
    )
    refused = failure.job_status == JobStatus.REJECTED
    if refused and (failure.vendor_waits or isinstance(error, AccountError)):
        # Nothing was paid: the attempt is given back with its job.
        return replace(waiting, generation_attempts=job.attempt_number - 1)
    if failure.job_status is None:
        return replace(waiting, wait_seconds=backoff_seconds(2))
    if isinstance(error, ContentPolicyError):
        if claim.fallback_used:
            return None
        logger.warning("prompt_censored", token_id=claim.token_id, prompt=job.prompt)
        return replace(
            waiting,
            error=f"{error} The fallback prompt is used instead.",
            wait_seconds=0,
            counted=True,
            fallback_used=True,
            detail={"censored": True, "original_prompt": job.prompt, "job_id": job.pk},
        )
    repeatable = isinstance(error, TransientError | ArtefactError) and not _is_of_the_model(error)
    if not repeatable or job.attempt_number >= settings.GENERATION_MAX_ATTEMPTS:
        return None
    at_least = error.retry_after_seconds if isinstance(error, TransientError) else None
    return replace(
        waiting,
        wait_seconds=backoff_seconds(job.attempt_number, at_least=at_least),
        counted=True,
        detail={"job_id": job.pk},
    )


def _final_message(failure: Failure) -> str:
    """Return why the token fails, and what a person has to do."""
    error, tried = failure.error, failure.job.attempt_number
    if isinstance(error, ContentPolicyError):
        advice = (
            "The fallback prompt was refused too: set another FALLBACK_CENSORED_PROMPT, then retry."
        )
    elif _is_of_the_model(error):
        advice = "Every image of this model would be: check it and IMAGE_MAX_BYTES, then retry."
    elif isinstance(error, TransientError | ArtefactError):
        advice = f"Given up after {tried} attempts: look at the model and its output, then retry."
    elif isinstance(error, NoImageError | InvalidRequestError):
        advice = "Check the prompt, REPLICATE_MODEL_VERSION and the output, then retry."
    elif failure.job.output_url:
        advice = "The image is paid for: mend the cause and retry while the vendor keeps it (1 h)."
    else:
        advice = "Mend the cause, then retry."
    return f"{error} {advice}"


def _is_of_the_model(error: ProviderError) -> bool:
    """Tell whether another image would be refused for the same reason, and paid for in vain."""
    return isinstance(error, ArtefactError) and error.code in _SIZE_CODES


def pause_if_wasted(problem: str) -> bool:
    """Pause the generation if the last images that were paid for were all of no use.

    No breaker sees it, since the vendor answers well. `problem` is the newest one's. Blank pictures
    are refused prompts, and don't count; an operator's resume begins the count anew.
    """
    limit: int = settings.GENERATION_PAUSE_AFTER_WASTED
    if not limit:
        return False
    with connection.cursor() as cursor:  # of the newest that ended well for the vendor
        cursor.execute(
            """
            SELECT count(*) FILTER (WHERE status = 'failed') FROM (
                SELECT status
                FROM (SELECT * FROM image_generation_jobs ORDER BY id DESC LIMIT %s) newest
                WHERE status IN ('captured', 'failed')
                  AND (output_url IS NOT NULL OR error_class = 'no_image')
                  AND error_class <> 'content_policy'
                  AND completed_at > COALESCE(
                      (SELECT max(at) FROM operator_actions
                       WHERE action = 'resume_stage' AND subject = 'generation'), '-infinity')
                ORDER BY id DESC LIMIT %s
            ) ended
            """,
            [limit + _LOOK_BACK, limit],
        )
        (wasted,) = cursor.fetchone()
    return wasted == limit and pause_stage(
        "generation",
        actor=SPEND_GUARD,
        reason=f"The last {limit} images were paid for and of no use. {problem} Mend the cause, "
        "then resume the generation and retry the failed tokens.",
    )
