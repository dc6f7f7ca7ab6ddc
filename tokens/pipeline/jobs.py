"""Generation jobs: written before the paid call, completed by whoever hears first.

What a vendor says of a prediction comes by webhook, by polling or by the listing, in any order,
often. Whoever comes first writes the outcome into the job and wakes the drains; everybody later
changes nothing. The token itself is moved by the step `collect`, under its own claim.

What every turn of a drain runs is plain SQL: building such a query by the ORM takes several times
as long as the database takes to answer it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import database_now
from glisk.engine.broker import notify
from glisk.errors import (
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    PermanentError,
    ProviderError,
    TransientError,
    UnexpectedError,
)
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import OPEN_JOB_STATUSES, JobService, JobStatus
from tokens.transitions import PIPELINE_CHANNEL
from tokens.transitions.status import as_json

logger = structlog.get_logger(__name__)

# Replicate deletes the files of a prediction one hour after its end.
OUTPUT_LIFETIME_SECONDS = 3600.0

# A model that is paid by the second reserves the price of so many until its time is known.
_ASSUMED_SECONDS = 10

_NEW = ("token_id", "prompt", "input", "service", "model", "attempt_number", "cost_usd")

_OPEN = [status.value for status in OPEN_JOB_STATUSES]
_UNANSWERED = [JobStatus.CREATED.value, JobStatus.SUBMITTED.value]

_ERRORS: dict[str, type[ProviderError]] = {
    kind.error_class: kind
    for kind in (
        ContentPolicyError,
        InvalidRequestError,
        NoImageError,
        PermanentError,
        UnexpectedError,
    )
}


@dataclass(frozen=True)
class Price:
    """US dollars per image or, for models paid by time, per second of `predict_time`."""

    usd: Decimal
    per_second: bool = False

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `0.003` (per image) or `0.000725/s`, as the settings take them."""
        usd, slash, _ = text.partition("/")
        return cls(Decimal(usd), bool(slash))

    @property
    def reserved(self) -> Decimal:
        """Return what one call is taken to cost before its end."""
        return self.usd * _ASSUMED_SECONDS if self.per_second else self.usd

    def of(self, predict_time_seconds: float | None) -> Decimal:
        """Return what one call has cost, a failed one too."""
        if not self.per_second or predict_time_seconds is None:
            return self.reserved
        cost = self.usd * Decimal(str(predict_time_seconds))
        return cost.quantize(Decimal("0.000001"))


def price_of(service: str, model: str) -> Price:
    """Return the price of a model by the settings."""
    if service == JobService.SELFHOSTED:
        return Price.parse(settings.SELFHOSTED_PRICE_USD)
    known = settings.REPLICATE_PRICES.get(model)
    return Price.parse(known) if known else Price(Decimal(str(settings.GENERATION_COST_USD)))


def model_of(service: str) -> str:
    """Return the model that a service makes images by."""
    own = service == JobService.SELFHOSTED
    return str(settings.SELFHOSTED_MODEL if own else settings.REPLICATE_MODEL_VERSION)


@dataclass(frozen=True)
class NewJob:
    token_id: int
    prompt: str
    attempt_number: int
    service: JobService = JobService.REPLICATE


def create_jobs(new: Sequence[NewJob], *, look_in: float) -> dict[int, ImageGenerationJob]:
    """Write the rows of calls that are about to be made; return them by token id.

    A token that has an open job already (it came since the claim's snapshot) is missing.
    `look_in`: seconds after which a call without an answer may be looked for.
    """
    models = {service: model_of(service) for service in {job.service for job in new}}
    rows = [
        {
            **vars(job),
            # A seed of its own makes every input unique: the vendor's listing is searched by it
            # when a reply was lost (the API has no idempotency key).
            "input": {"prompt": job.prompt, "seed": secrets.randbelow(2**31)},
            "model": models[job.service],
            "cost_usd": str(price_of(job.service, models[job.service]).reserved),
        }
        for job in new
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO image_generation_jobs ({", ".join(_NEW)}, status, error_class, error,
                                               looks, created_at, look_at)
            SELECT {", ".join(_NEW)}, 'created', '', '', 0, clock_timestamp(),
                   clock_timestamp() + make_interval(secs => %s)
            FROM json_to_recordset(%s::json) AS v(token_id bigint, prompt text, input jsonb,
                service text, model text, attempt_number integer, cost_usd numeric)
            ON CONFLICT (token_id)
                WHERE status IN ('created', 'submitted', 'succeeded', 'errored') DO NOTHING
            RETURNING id, token_id, created_at
            """,  # noqa: S608 - our own names
            [look_in, as_json(rows)],
        )
        made = {token_id: (pk, created_at) for pk, token_id, created_at in cursor.fetchall()}
    return {pk: _new_job(row, *made[pk]) for row in rows if (pk := row["token_id"]) in made}


def _new_job(row: dict[str, Any], pk: int, created_at: datetime) -> ImageGenerationJob:
    job = ImageGenerationJob(id=pk, created_at=created_at, **row)
    job.cost_usd = Decimal(row["cost_usd"])
    job._state.adding = False
    return job


def open_jobs(token_ids: Iterable[int]) -> dict[int, ImageGenerationJob]:
    """Return the open job of each of these tokens, by token id."""
    wanted = list(token_ids)
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM image_generation_jobs WHERE token_id = ANY(%s) AND status = ANY(%s)",
            [wanted, _OPEN],
        )
        found = [row[0] for row in cursor.fetchall()]
    if not found:  # as always but after a crash: the ORM would take 0.4 ms to say so
        return {}
    return {job.token_id: job for job in ImageGenerationJob.objects.filter(pk__in=found)}


def record_submitted(accepted: Sequence[tuple[int, str]], *, look_in: float) -> set[int]:
    """Store the vendor's ids, (job id, external id), as soon as they are known.

    Whether the lease still holds does not matter here: the prediction is paid for. Returns the
    ids of the jobs that were still waiting for it.
    """
    if not accepted:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs j SET external_id = v.external_id, "
            "status = 'submitted', submitted_at = clock_timestamp(), "
            "look_at = clock_timestamp() + make_interval(secs => %s) "
            "FROM unnest(%s::bigint[], %s::text[]) AS v(id, external_id) "
            "WHERE j.id = v.id AND j.external_id IS NULL AND j.status = 'created' "
            "RETURNING j.id",
            [
                look_in,
                [job_id for job_id, _ in accepted],
                [external_id for _, external_id in accepted],
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def record_run(
    job: ImageGenerationJob, *, predict_time_seconds: float | None, output_url: str | None
) -> None:
    """Store what a service told at once with the image: its time, its cost, where the image is.

    An image that came inside the reply is in memory only: if it is lost, it is asked for again.
    """
    price = price_of(job.service, job.model)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs SET predict_time_seconds = %s, cost_usd = %s, "
            "output_url = %s, status = CASE WHEN %s THEN 'succeeded' ELSE status END "
            "WHERE id = %s AND status = 'submitted'",
            [
                predict_time_seconds,
                price.of(predict_time_seconds),
                output_url,
                output_url is not None,
                job.pk,
            ],
        )
    job.output_url = output_url


def close_jobs(
    job_ids: Sequence[int], *, status: JobStatus, error_class: str = "", error: str = ""
) -> None:
    """End open jobs: captured, failed or rejected. A captured image's data URI loses its data.

    One that has ended meanwhile, as its callback says, is not rejected: it is paid for.
    """
    if not job_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs SET status = %s, error_class = %s, error = %s, "
            "completed_at = %s, cost_usd = CASE WHEN %s THEN NULL ELSE cost_usd END, "
            "output_url = CASE WHEN %s AND starts_with(output_url, 'data:') "
            "THEN split_part(output_url, ',', 1) ELSE output_url END "
            "WHERE id = ANY(%s) AND status = ANY(%s)",
            [
                status.value,
                error_class,
                error,
                database_now(),
                status is JobStatus.REJECTED,  # it was surely not paid
                status is JobStatus.CAPTURED,
                list(job_ids),
                _UNANSWERED if status is JobStatus.REJECTED else _OPEN,
            ],
        )


def look_again(
    jobs: Sequence[ImageGenerationJob],
    *,
    in_seconds: float,
    in_vain: bool = False,
    why: str | None = None,
) -> None:
    """Have the vendor asked about these jobs again, if they are not settled meanwhile.

    `in_vain` counts the look; `why` nobody knows yet whether they are paid for is kept.
    """
    if not jobs:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs SET looks = looks + %s, "
            "error = CASE WHEN status = 'created' AND error_class = '' "
            "THEN COALESCE(%s, error) ELSE error END, "
            "look_at = clock_timestamp() + make_interval(secs => %s) "
            "WHERE id = ANY(%s) AND status IN ('created', 'submitted')",
            [int(in_vain), why, in_seconds, [job.pk for job in jobs]],
        )


def external_ids_near(moment: datetime) -> set[str]:
    """Return the vendor's ids of the jobs and samples that were made within an hour of a moment."""
    hour = timedelta(hours=1)
    known: set[str] = set()
    for calls in (ImageGenerationJob.objects, PromptSample.objects):
        found = calls.filter(
            created_at__range=(moment - hour, moment + hour),
            external_id__isnull=False,
            cost_usd__isnull=False,  # as all that have an id; the index wants to be told
        )
        known.update(str(known_id) for known_id in found.values_list("external_id", flat=True))
    return known


def error_of(job: ImageGenerationJob) -> ProviderError:
    """Return the error that a failed job's stored class means."""
    kind = _ERRORS.get(job.error_class, TransientError)
    return kind(job.error, vendor=job.service)


def is_our_input(shown: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Tell whether a prediction's input is what we sent; the vendor may add its defaults."""
    return bool(sent) and all(shown.get(name) == value for name, value in sent.items())


def is_of_another(shown: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Tell whether a prediction surely belongs to another call: every call has its own seed."""
    return "seed" in shown and "seed" in sent and shown["seed"] != sent["seed"]


def age_seconds(moment: datetime) -> float:
    """Return the age of a moment of the database's clock."""
    return (database_now() - moment).total_seconds()


def record_prediction(prediction: Prediction, *, job_id: int | None = None) -> str:
    """Write a prediction's outcome into its job.

    Returns "recorded", "duplicate" (nothing new), "running" (no outcome yet) or "unknown" (no
    such job). `job_id` finds the job whose reply was lost before its external id was stored.
    """
    if prediction.is_terminal and _complete_at_once(prediction):
        return "recorded"
    with transaction.atomic():
        job = _find(prediction.id, job_id)
        if job is None:
            return "unknown"
        if job.status not in (JobStatus.CREATED, JobStatus.SUBMITTED, JobStatus.REJECTED):
            return "duplicate"
        learned_id = job.external_id is None
        if learned_id and is_of_another(prediction.input, job.input):
            logger.error("prediction_of_another_job", job_id=job.pk, prediction_id=prediction.id)
            return "unknown"
        if learned_id and not _adopt(job, prediction):
            return "unknown"
        if not prediction.is_terminal:
            if learned_id:
                notify(PIPELINE_CHANNEL)
            return "running"
        _complete(job, prediction)
        notify(PIPELINE_CHANNEL)
    return "recorded"


def _find(external_id: str, job_id: int | None) -> ImageGenerationJob | None:
    by_id = Q(external_id=external_id)
    if job_id is not None:
        by_id |= Q(pk=job_id, external_id__isnull=True)
    found = list(
        ImageGenerationJob.objects.select_for_update()
        .filter(by_id, service=JobService.REPLICATE)
        .order_by("pk")
    )
    # The row that has the vendor's id already wins over the one that the query named.
    return next((job for job in found if job.external_id), found[0] if found else None)


def _adopt(job: ImageGenerationJob, prediction: Prediction) -> bool:
    """Give a job the id of a prediction whose reply was lost."""
    fields = {
        "external_id": prediction.id,
        "status": JobStatus.SUBMITTED,
        "submitted_at": database_now(),
        "look_at": database_now(),
        "cost_usd": price_of(job.service, job.model).reserved,
        "error": "",
    }
    if job.status == JobStatus.REJECTED:
        # Given up already, and perhaps made anew: keep the ledger true. A retry of the token
        # fetches the image, if no other call was made since (tokens.repairs.retry).
        fields["status"] = JobStatus.FAILED
        fields["error"] = "The vendor had accepted this call after all: nobody waited for it."
        if job.error_class != "withdrawn":  # by a reorg: then the image is of another's prompt
            fields["error_class"] = TransientError.error_class
            if prediction.is_succeeded and prediction.output_urls:
                fields["output_url"] = prediction.output_urls[0]
        logger.error("prediction_paid_twice", job_id=job.pk, token_id=job.token_id)
    else:
        fields["error_class"] = ""
    try:
        with transaction.atomic():
            ImageGenerationJob.objects.filter(pk=job.pk).update(**fields)
    except IntegrityError:
        return False
    for name, value in fields.items():
        setattr(job, name, value)
    return job.status == JobStatus.SUBMITTED


def _complete_at_once(prediction: Prediction) -> bool:
    """Complete the usual job, whose id is stored and which nobody has completed, in one statement.

    The way with its lock, which every other case takes, costs the web server 2.5 ms of CPU more.
    It knows the job's model, too, which a price by the second needs.
    """
    if price_of(JobService.REPLICATE, settings.REPLICATE_MODEL_VERSION).per_second:
        return False
    outcome = _outcome_of(prediction)
    sets = ", ".join(f"{name} = %s" for name in outcome)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH ended AS (UPDATE image_generation_jobs SET {sets} "  # noqa: S608 - our names
            "WHERE external_id = %s AND service = %s AND status = %s RETURNING id) "
            "SELECT pg_notify(%s, '') FROM ended",
            [
                *outcome.values(),
                prediction.id,
                JobService.REPLICATE.value,
                JobStatus.SUBMITTED.value,
                PIPELINE_CHANNEL,
            ],
        )
        return cursor.fetchone() is not None


def _complete(job: ImageGenerationJob, prediction: Prediction) -> None:
    price, cost = price_of(job.service, job.model), {}
    if price.per_second:
        cost = {"cost_usd": price.of(prediction.predict_time_seconds)}
    ImageGenerationJob.objects.filter(pk=job.pk).update(**_outcome_of(prediction), **cost)


def _outcome_of(prediction: Prediction) -> dict[str, Any]:
    """Return the columns of a job that ended as this prediction did."""
    outcome: dict[str, Any] = {
        "completed_at": prediction.completed_at or database_now(),
        "predict_time_seconds": prediction.predict_time_seconds,
    }
    if prediction.is_succeeded and prediction.output_urls:
        return {
            **outcome,
            "status": JobStatus.SUCCEEDED.value,
            "output_url": prediction.output_urls[0],
        }
    error: ProviderError = classify_prediction_failure(prediction)
    return {
        **outcome,
        "status": JobStatus.ERRORED.value,
        "error_class": error.error_class,
        "error": str(error),
    }
