"""Take in what a vendor says of a prediction: by webhook or by polling, in any order, often.

Whoever comes first writes the outcome into the job and wakes the pipeline; everybody later
changes nothing. The token itself is moved by the pipeline, which holds its lease.
"""

from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import database_now
from glisk.engine.notify import notify
from glisk.errors import ProviderError, TransientError
from tokens.models import ImageGenerationJob
from tokens.models.job import JobService, JobStatus
from tokens.pipeline.jobs import is_of_another
from tokens.pipeline.spend import price_of
from tokens.transitions import PIPELINE_CHANNEL

logger = structlog.get_logger(__name__)


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
