"""Generation jobs: written before the paid call, completed by whoever hears first.

What a vendor says of a prediction comes by webhook, by polling or by the listing, in any order,
often. Whoever comes first writes the outcome into the job and wakes the drains; everybody later
changes nothing. The token itself is moved by the step `collect`, under its own claim.

What every turn of a drain runs is plain SQL: the ORM takes several times as long to build it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac

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
from tokens.transitions.claims import Claim
from tokens.transitions.status import as_json

logger = structlog.get_logger(__name__)

# Replicate deletes the files of a prediction one hour after its end.
OUTPUT_LIFETIME_SECONDS = 3600.0

# A model that is paid by the second reserves the price of so many until its time is known.
_ASSUMED_SECONDS = 10

_OPEN = [status.value for status in OPEN_JOB_STATUSES]
_UNANSWERED = [JobStatus.CREATED.value, JobStatus.SUBMITTED.value]

_KINDS = (ContentPolicyError, InvalidRequestError, NoImageError, PermanentError, UnexpectedError)
_ERRORS: dict[str, type[ProviderError]] = {kind.error_class: kind for kind in _KINDS}


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


def price_of(service: str, model: str | None = None) -> Price:
    """Return the price of a model by the settings: that which the service is asked for now."""
    if service == JobService.SELFHOSTED:
        return Price.parse(settings.SELFHOSTED_PRICE_USD)
    known = settings.REPLICATE_PRICES.get(model or model_of(service))
    return Price.parse(known) if known else Price(Decimal(str(settings.GENERATION_COST_USD)))


def model_of(service: str) -> str:
    """Return the model that a service makes images by."""
    own = service == JobService.SELFHOSTED
    return str(settings.SELFHOSTED_MODEL if own else settings.REPLICATE_MODEL_VERSION)


def new_input(prompt: str, *, seed: int | None = None) -> dict[str, Any]:
    """Return what is sent for a prompt, with a seed by which a lost reply is found again."""
    return {"prompt": prompt, "seed": secrets.randbelow(2**31) if seed is None else seed}


def seed_of(token_id: int, number: int) -> int:
    """Return the seed of a token's job, the `number`th from 0 on: a name that outlives the row.

    A database that was restored finds the calls by it that were made since (recovery.paid_calls).
    The key keeps strangers from knowing which picture a token will have.
    """
    name = f"{settings.GLISK_NFT_CONTRACT_ADDRESS.lower()}:{token_id}:{number}"
    digest = salted_hmac("tokens.pipeline.jobs.seed", name, algorithm="sha256").digest()
    return int.from_bytes(digest[:4]) >> 1


def job_counts(token_ids: Iterable[int]) -> dict[int, int]:
    """Return how many jobs each token has had, the refused ones too; 0 stands in no row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT token_id, count(*) FROM image_generation_jobs WHERE token_id = ANY(%s) "
            "GROUP BY 1",
            [list(token_ids)],
        )
        return dict(cursor.fetchall())


def create_jobs(
    calls: Sequence[tuple[Claim, JobService]], *, look_in: float
) -> dict[int, ImageGenerationJob]:
    """Write the rows of calls that are about to be made; return them by token id.

    A token that has an open job already (it came since the claim's snapshot) is missing.
    `look_in`: seconds after which a call without an answer may be looked for.
    """
    if not calls:
        return {}
    numbers = job_counts(claim.token_id for claim, _ in calls)
    rows: dict[int, dict[str, Any]] = {}
    for claim, service in calls:
        prompt = settings.FALLBACK_CENSORED_PROMPT if claim.fallback_used else claim.prompt
        rows[claim.token_id] = {
            "token_id": claim.token_id,
            "prompt": prompt,
            "input": new_input(
                prompt, seed=seed_of(claim.token_id, numbers.get(claim.token_id, 0))
            ),
            "service": service.value,
            "model": model_of(service),
            "attempt_number": claim.generation_attempts + 1,
            "cost_usd": str(price_of(service).reserved),
        }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO image_generation_jobs (token_id, prompt, input, service, model,
                attempt_number, cost_usd, status, error_class, error, looks, created_at, look_at)
            SELECT *, 'created', '', '', 0, clock_timestamp(),
                   clock_timestamp() + make_interval(secs => %s)
            FROM json_to_recordset(%s::json) AS v(token_id bigint, prompt text, input jsonb,
                service text, model text, attempt_number integer, cost_usd numeric)
            ON CONFLICT (token_id)
                WHERE status IN ('created', 'submitted', 'succeeded', 'errored') DO NOTHING
            RETURNING token_id, id, created_at
            """,
            [look_in, as_json(rows.values())],
        )
        return {
            token_id: ImageGenerationJob(id=pk, created_at=created_at, **rows[token_id])
            for token_id, pk, created_at in cursor.fetchall()
        }


def open_jobs(token_ids: Iterable[int]) -> dict[int, ImageGenerationJob]:
    """Return the open job of each of these tokens, by token id."""
    found = ImageGenerationJob.objects.filter(
        token_id__in=list(token_ids), status__in=OPEN_JOB_STATUSES
    )
    return {job.token_id: job for job in found}


def record_submitted(accepted: Sequence[tuple[int, str]], *, look_in: float) -> set[int]:
    """Store the vendor's ids, (job id, external id); return the jobs that waited for them.

    Whether the lease still holds does not matter here: the prediction is paid for.
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
            [look_in, *map(list, zip(*accepted, strict=True))],
        )
        return {row[0] for row in cursor.fetchall()}


def record_run(
    job: ImageGenerationJob, *, predict_time_seconds: float | None, output_url: str | None
) -> None:
    """Store what a service told at once with the image: its time, its cost, where the image is.

    An image that came inside the reply is in memory only: if it is lost, it is asked for again.
    """
    ended = {"output_url": output_url, "status": JobStatus.SUCCEEDED} if output_url else {}
    ImageGenerationJob.objects.filter(pk=job.pk, status=JobStatus.SUBMITTED).update(
        predict_time_seconds=predict_time_seconds,
        cost_usd=price_of(job.service, job.model).of(predict_time_seconds),
        **ended,
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
    near = Q(created_at__range=(moment - hour, moment + hour), external_id__isnull=False)
    paid = Q(cost_usd__isnull=False)  # as all that have an id; the index wants to be told
    calls = (ImageGenerationJob.objects, PromptSample.objects)
    ids = [each.filter(near, paid).values_list("external_id", flat=True) for each in calls]
    return set(map(str, chain(*ids)))


def error_of(job: ImageGenerationJob) -> ProviderError:
    """Return the error that a failed job's stored class means."""
    kind = _ERRORS.get(job.error_class, TransientError)
    return kind(job.error, vendor=job.service)


def age_seconds(moment: datetime) -> float:
    """Return the age of a moment of the database's clock."""
    return (database_now() - moment).total_seconds()


def record_prediction(prediction: Prediction, *, job_id: int | None = None) -> str:
    """Write a prediction's outcome into its job.

    Returns "recorded", "duplicate" (nothing new), "running" (no outcome yet) or "unknown" (no
    such job). `job_id` finds the job whose reply was lost before its external id was stored.
    """
    # The usual job, whose id is stored and whose price needs no look at it: to find and lock it
    # first costs the web server 2.5 ms of CPU more.
    price = price_of(JobService.REPLICATE)
    if prediction.is_terminal and not price.per_second and _complete(prediction, price):
        return "recorded"
    with transaction.atomic():
        job = _find(prediction.id, job_id)
        if job is None:
            return "unknown"
        if job.status not in (JobStatus.CREATED, JobStatus.SUBMITTED, JobStatus.REJECTED):
            return "duplicate"
        if job.external_id is None:
            if not _adopt(job, prediction):
                return "unknown"
            notify(PIPELINE_CHANNEL)
        if not prediction.is_terminal:
            return "running"
        price = price_of(job.service, job.model)
        return "recorded" if _complete(prediction, price) else "duplicate"


def _find(external_id: str, job_id: int | None) -> ImageGenerationJob | None:
    by_id = Q(external_id=external_id)
    if job_id is not None:
        by_id |= Q(pk=job_id, external_id__isnull=True)
    found = ImageGenerationJob.objects.filter(by_id, service=JobService.REPLICATE)
    # The row that has the vendor's id already wins over the one that the query named.
    return found.order_by("external_id").select_for_update().first()


def _adopt(job: ImageGenerationJob, prediction: Prediction) -> bool:
    """Give a job the id of a prediction whose reply was lost; tell whether it is waited for."""
    shown, sent = prediction.input.get("seed"), job.input.get("seed")
    if None not in (shown, sent) and shown != sent:
        logger.error("prediction_of_another_job", job_id=job.pk, prediction_id=prediction.id)
        return False
    fields: dict[str, Any] = {
        "external_id": prediction.id,
        "status": JobStatus.SUBMITTED,
        "submitted_at": database_now(),
        "look_at": database_now(),
        "cost_usd": price_of(job.service, job.model).reserved,
        "error_class": "",
        "error": "",
    }
    if job.status == JobStatus.REJECTED:
        # Given up already, and perhaps made anew: keep the ledger true. A retry of the token
        # fetches the image, if no other call was made since (tokens.repairs.retry).
        fields["status"] = JobStatus.FAILED
        fields["error"] = "The vendor had accepted this call after all: nobody waited for it."
        fields["error_class"] = job.error_class
        if job.error_class != "withdrawn":  # by a reorg: then the image is of another's prompt
            fields["error_class"] = TransientError.error_class
            if prediction.is_succeeded and prediction.output_urls:
                fields["output_url"] = prediction.output_urls[0]
        logger.error("prediction_paid_twice", job_id=job.pk, token_id=job.token_id)
    try:
        with transaction.atomic():
            ImageGenerationJob.objects.filter(pk=job.pk).update(**fields)
    except IntegrityError:  # another job has this id
        return False
    return bool(fields["status"] == JobStatus.SUBMITTED)


def _complete(prediction: Prediction, price: Price) -> bool:
    """End the job that has this id and that nobody has ended; tell whether there is one."""
    outcome: dict[str, Any] = {
        "completed_at": prediction.completed_at or database_now(),
        "predict_time_seconds": prediction.predict_time_seconds,
    }
    if price.per_second:
        outcome["cost_usd"] = price.of(prediction.predict_time_seconds)
    if prediction.is_succeeded and prediction.output_urls:
        outcome |= {"status": JobStatus.SUCCEEDED.value, "output_url": prediction.output_urls[0]}
    else:
        error = classify_prediction_failure(prediction)
        outcome |= {
            "status": JobStatus.ERRORED.value,
            "error_class": error.error_class,
            "error": str(error),
        }
    sets = ", ".join(f"{name} = %s" for name in outcome)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH ended AS (UPDATE image_generation_jobs SET {sets} "  # noqa: S608 - our names
            "WHERE external_id = %s AND service = 'replicate' AND status = 'submitted' "
            "RETURNING id) SELECT pg_notify(%s, '') FROM ended",
            [*outcome.values(), prediction.id, PIPELINE_CHANNEL],
        )
        return cursor.fetchone() is not None
