"""Generation jobs in bulk: written before the paid call, completed by whoever hears first.

What every turn of the drain runs is plain SQL: building such a query by the ORM takes several
times as long as the database takes to answer it.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from glisk.clock import database_now
from glisk.database.json_rows import as_json
from glisk.errors import (
    ContentPolicyError,
    InvalidRequestError,
    NoImageError,
    PermanentError,
    ProviderError,
    TransientError,
)
from tokens.models import ImageGenerationJob, PromptSample
from tokens.models.job import OPEN_JOB_STATUSES, JobService, JobStatus
from tokens.pipeline.spend import model_of, price_of
from tokens.transitions import claims

# Replicate deletes the files of a prediction one hour after its end.
OUTPUT_LIFETIME_SECONDS = 3600.0
# A lost reply that is looked for longer than this is shown to operators.
LOOKUP_SECONDS = 300.0

# What changes in a job while it is waited for.
_NEWS = ("status", "external_id", "output_url", "error_class", "error", "submitted_at")

_NEW = ("token_id", "prompt", "input", "service", "model", "attempt_number", "cost_usd")

_OPEN = [status.value for status in OPEN_JOB_STATUSES]
_UNANSWERED = [JobStatus.CREATED.value, JobStatus.SUBMITTED.value]

_ERRORS: dict[str, type[ProviderError]] = {
    kind.error_class: kind
    for kind in (ContentPolicyError, InvalidRequestError, NoImageError, PermanentError)
}


@dataclass(frozen=True)
class NewJob:
    token_id: int
    prompt: str
    attempt_number: int
    service: JobService = JobService.REPLICATE


def create_jobs(new: Sequence[NewJob]) -> dict[int, ImageGenerationJob]:
    """Write the rows of calls that are about to be made; return them by token id."""
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
                                               created_at)
            SELECT {", ".join(_NEW)}, 'created', '', '', clock_timestamp()
            FROM json_to_recordset(%s::json) AS v(token_id bigint, prompt text, input jsonb,
                service text, model text, attempt_number integer, cost_usd numeric)
            RETURNING id, token_id, created_at
            """,  # noqa: S608 - our own names
            [as_json(rows)],
        )
        made = {token_id: (pk, created_at) for pk, token_id, created_at in cursor.fetchall()}
    return {row["token_id"]: _new_job(row, *made[row["token_id"]]) for row in rows}


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


def take_news(
    *,
    waiting: Mapping[int, ImageGenerationJob],
    reconciling: Mapping[int, ImageGenerationJob],
) -> list[ImageGenerationJob]:
    """Bring the jobs (by id) up to date whose outcome is known, and return them.

    Of those being reconciled, also the ones that were found.
    """
    both = {**waiting, **reconciling}
    if not both:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, {', '.join(_NEWS)} "  # noqa: S608 - our own names
            "FROM image_generation_jobs WHERE id = ANY(%s) AND status <> 'created' "
            "AND NOT (status = 'submitted' AND id = ANY(%s))",
            [[*both], [*waiting]],
        )
        rows = cursor.fetchall()
    for job_id, *values in rows:
        for name, value in zip(_NEWS, values, strict=True):
            setattr(both[job_id], name, value)
    return [both[row[0]] for row in rows]


def record_submitted(accepted: Sequence[tuple[int, str]]) -> set[int]:
    """Store the vendor's ids, (job id, external id), as soon as they are known.

    Whether the lease still holds does not matter here: the prediction is paid for. Returns the
    ids of the jobs that were still waiting for it.
    """
    if not accepted:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE image_generation_jobs j SET external_id = v.external_id, "
            "status = 'submitted', submitted_at = clock_timestamp() "
            "FROM unnest(%s::bigint[], %s::text[]) AS v(id, external_id) "
            "WHERE j.id = v.id AND j.external_id IS NULL AND j.status = 'created' "
            "RETURNING j.id",
            [
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


def note_open(job: ImageGenerationJob, why: str, *, owner: str) -> None:
    """Write why the outcome of a call is still unknown, into the job and its token."""
    with transaction.atomic():
        if claims.note_error(job.token_id, why, owner=owner):
            ImageGenerationJob.objects.filter(pk=job.pk, status=JobStatus.CREATED).update(error=why)
    job.error = why


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
