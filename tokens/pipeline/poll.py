"""Ask Replicate about predictions whose callback is late; end those that take too long.

job submitted → job succeeded or errored; what that means for its token, collect decides
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

import structlog
from django.conf import settings
from django.db import connection

from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.engine.step import Done, Failed
from glisk.errors import InvalidRequestError, ProviderError, as_provider_error
from glisk.timing import timing
from tokens.models import ImageGenerationJob
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import jobs
from tokens.pipeline.image_vendors import ImageStep, until_probe, uses_callbacks

logger = structlog.get_logger(__name__)

_CALL_SECONDS = 10.0  # so long nobody else asks; a worker that dies with a poll costs this
_SLACK = timedelta(minutes=10)  # the listing's times are the vendor's
_MOST_AT_ONCE = 1000
_FEW = 3  # read one by one
_MOST_PAGES = 5


def poll_seconds() -> float:
    """Return how long a prediction is left alone, from its call or the last look at it."""
    return timing.poll_with_callback if uses_callbacks() else timing.poll


@dataclass(frozen=True)
class Look:
    jobs: Sequence[ImageGenerationJob]
    listed: bool = False  # the listing is asked, too
    overdue: bool = False  # a single one, which is to be canceled


@dataclass(frozen=True)
class Seen:
    """What was read; `refusal`: the listing was asked, and failed."""

    predictions: Sequence[Prediction]
    refusal: ProviderError | None = None


class Poll(ImageStep[Look, Seen]):
    most = 4

    def places(self) -> int:
        due = self.open_jobs.workable(JobStatus.SUBMITTED, service=JobService.REPLICATE)
        return self.free if due else 0

    def claim(self, limit: int) -> Sequence[Look]:
        reads, listing = self.replicate.reads, self.replicate.listing
        due = _claim(within_seconds=poll_seconds() / 2)
        longest = settings.GENERATION_TIMEOUT_SECONDS
        overdue = [j for j in due if jobs.age_seconds(j.submitted_at or j.created_at) >= longest]
        rest = [job for job in due if job not in overdue]
        looks = [Look([job], overdue=True) for job in overdue[: limit - 1]]
        jobs.look_again(overdue[limit - 1 :], in_seconds=poll_seconds())
        if rest and reads.places(1):
            # Few need no listing; but if it was refused, they find out whether that is over.
            listed = listing.places(1) > 0 and (len(rest) > _FEW or listing.is_open)
            looks.append(Look(rest, listed=listed))
        else:
            jobs.look_again(rest, in_seconds=until_probe(reads, at_least=poll_seconds()))
        self.has_put_off = sum(len(look.jobs) for look in looks) < len(due)
        return looks

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.replicate.reads, self.replicate.listing)

    def asks(self, work: Look) -> Sequence[Breaker]:
        if work.overdue:
            return ()
        return self.breakers if work.listed else (self.replicate.reads,)

    def call(self, work: Look) -> Seen:
        """Read predictions; of many, the listing says which have ended, so that few are read."""
        client, ids = self.replicate.client, [job.external_id or "" for job in work.jobs]
        if work.overdue:
            found = _get_or_gone(client, ids[0])
            return Seen([found if found.is_terminal else client.cancel_prediction(found.id)])
        running: set[str] = set()
        refusal = None
        if work.listed:
            since = min(job.created_at for job in work.jobs) - _SLACK
            pages = islice(client.prediction_pages(created_after=since), _MOST_PAGES)
            try:
                running = {found.id for page in pages for found in page if not found.is_terminal}
            except ProviderError as error:
                refusal = error
        return Seen(get_many(client, [each for each in ids if each not in running]), refusal)

    def settle(self, done: Sequence[Done[Look, Seen]], failed: Sequence[Failed[Look]]) -> None:
        for each in done:
            for prediction in each.value.predictions:
                if each.work.overdue or prediction.is_terminal:
                    jobs.record_prediction(prediction)
            if each.work.overdue:
                jobs.look_again(each.work.jobs, in_seconds=timing.cancel_again)
                continue
            self.replicate.reads.succeeded()
            if each.value.refusal is not None:
                self.replicate.listing.failed(told("reconciliation_failed", each.value.refusal))
            elif each.work.listed:
                self.replicate.listing.succeeded()
            jobs.look_again(each.work.jobs, in_seconds=poll_seconds())
        for refused in failed:
            if refused.work.overdue:
                told("cancel_failed", refused.error)
                asked = getattr(refused.error, "retry_after_seconds", None) or 0.0
                jobs.look_again(refused.work.jobs, in_seconds=max(timing.cancel_again, asked))
            else:
                self.replicate.reads.failed(told("poll_failed", refused.error))
                wait = until_probe(self.replicate.reads, at_least=poll_seconds())
                jobs.look_again(refused.work.jobs, in_seconds=wait)


def _claim(*, within_seconds: float) -> list[ImageGenerationJob]:
    """Take predictions that are to be asked for within so many seconds: one listing serves many."""
    columns = ("id", "token_id", "external_id", "created_at", "submitted_at")
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH c AS MATERIALIZED (SELECT j.id FROM image_generation_jobs j "  # noqa: S608
            "JOIN tokens_s0 t USING (token_id) "
            "WHERE j.status = 'submitted' AND j.service = 'replicate' "
            "AND t.status || '' IN ('detected', 'generating') AND (j.look_at IS NULL "
            "OR j.look_at <= clock_timestamp() + make_interval(secs => %s)) "
            "ORDER BY j.look_at NULLS FIRST LIMIT %s FOR UPDATE OF j SKIP LOCKED) "
            "UPDATE image_generation_jobs j "
            "SET look_at = clock_timestamp() + make_interval(secs => %s) FROM c "
            f"WHERE j.id = c.id RETURNING {', '.join(f'j.{name}' for name in columns)}",
            [within_seconds, _MOST_AT_ONCE, _CALL_SECONDS],
        )
        rows = cursor.fetchall()
    return [ImageGenerationJob(**dict(zip(columns, row, strict=True))) for row in rows]


def told(event: str, error: Exception) -> ProviderError:
    """Log why something could not be read."""
    fault = as_provider_error(error, vendor="replicate")
    logger.warning(event, error=str(fault), exc_info=error if fault is not error else None)
    return fault


def get_many(client: ReplicateClient, external_ids: Collection[str]) -> list[Prediction]:
    """Read predictions; what cannot be read now is left out. Raises if nothing can be."""
    found: list[Prediction] = []
    faults: list[ProviderError] = []
    for external_id in external_ids:
        try:
            found.append(_get_or_gone(client, external_id))
        except ProviderError as error:
            faults.append(error)
            if len(faults) == _FEW:  # it is not this or that prediction
                break
    if faults and not found:
        raise faults[0]
    return found


def _get_or_gone(client: ReplicateClient, external_id: str) -> Prediction:
    """Read a prediction; one that the vendor does not know any more comes back as `aborted`."""
    try:
        return client.get_prediction(external_id)
    except InvalidRequestError as error:
        if error.status != 404:
            raise
        return Prediction(id=external_id, status="aborted", error="The vendor does not know it.")
