"""Paid calls that the database has forgotten: an older state of it was restored.

Each job's seed follows from its token and its number (tokens.pipeline.jobs.seed_of). So what was
paid for since the backup is found in Replicate's listing, entered into the ledger, and waited for
where the token still wants its image. Replicate deletes the inputs after an hour: what is older
cannot be told apart any more.

To be run while no worker lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.clock import database_now
from glisk.database import undone_if
from glisk.errors import TransientError
from tokens.models import ImageGenerationJob, PromptSample, Token
from tokens.models.job import OPEN_JOB_STATUSES, JobService, JobStatus, SampleStatus
from tokens.pipeline import jobs
from tokens.pipeline.find import WINDOW
from tokens.pipeline.poll import get_many
from tokens.repairs.hold import hold_tokens
from tokens.states import TokenStatus
from tokens.transitions.claims import resume_generation

logger = structlog.get_logger(__name__)

# A token has hardly been paid for so often since the backup.
_AHEAD: Final = 20
_TOKENS_AT_ONCE: Final = 5000
_WANTING: Final = (TokenStatus.DETECTED, TokenStatus.GENERATING)
# No number of a job that was in use before is given out again: callbacks name jobs by it.
_NUMBERS_AHEAD: Final = 1_000_000
_FORGOTTEN = "Made after the backup that was restored; its image is not used."
_REFUSED = "A call after the backup that Replicate does not show: it was not paid."
_RESTORED = "A backup was restored; the call may have been made and paid after it."
_FOLLOWED = "A later call was made after the backup that was restored."


@dataclass
class PaidCallsReport:
    """What was found: predictions by id; `resumed` by token, `held` tokens with the reason."""

    listed: int = 0
    entered: list[str] = field(default_factory=list)  # into the ledger
    resumed: dict[int, str] = field(default_factory=dict)
    held: dict[int, str] = field(default_factory=dict)
    unreadable: int = 0  # their inputs are deleted
    strangers: int = 0  # no seed of ours: samples, or somebody else on the account
    cost_usd: Decimal = Decimal(0)


def end_waiting_samples() -> None:
    """Give up the samples that wait for their call: it may have been made after the backup."""
    PromptSample.objects.filter(status=SampleStatus.CREATED).update(
        status=SampleStatus.FAILED, error=_RESTORED, cost_usd=None, completed_at=Now()
    )


def skip_used_numbers() -> None:
    """Have the next job get a number that no database before this one can have given out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence('image_generation_jobs', 'id')")
        (sequence,) = cursor.fetchone()
        cursor.execute(
            f"SELECT setval(%s, (SELECT last_value FROM {sequence}) + %s)",  # noqa: S608 - its name
            [sequence, _NUMBERS_AHEAD],
        )


def adopt_paid_calls(
    client: ReplicateClient, *, since: datetime, actor: str, dry_run: bool = False
) -> PaidCallsReport:
    """Find the predictions since a moment that are in no row, and enter them.

    May be run again: what is entered is known. A dry run only reports. Raises the errors of the
    client, and TransientError while a prediction cannot be read: then nothing is entered.
    """
    report = PaidCallsReport()
    unknown = _unknown(client, since, report)
    seeds = _seeds(since)
    found: dict[int, dict[int, Prediction]] = {}
    for prediction in unknown:
        seed = prediction.input.get("seed")
        place = seeds.get(seed) if isinstance(seed, int) else None
        if place is None:
            report.strangers += 1
        else:
            found.setdefault(place[0], {})[place[1]] = prediction
    with undone_if(dry_run):
        for token_id in sorted(found):
            _enter(token_id, found[token_id], report, actor=actor)
    if dry_run:
        return report
    logger.info(
        "paid_calls_adopted",
        listed=report.listed,
        entered=len(report.entered),
        resumed=len(report.resumed),
        held=len(report.held),
    )
    return report


def _unknown(client: ReplicateClient, since: datetime, report: PaidCallsReport) -> list[Prediction]:
    """Read the listing back to a moment; return what is in no row, with its input."""
    start = since - WINDOW
    listed: list[Prediction] = []
    for page in client.prediction_pages():
        listed += page
        if page and page[-1].created_at is not None and page[-1].created_at < start:
            break
    near = {p.id: p for p in listed if p.created_at is None or p.created_at >= start}
    report.listed = len(near)
    for rows in (ImageGenerationJob.objects, PromptSample.objects):
        known = rows.filter(external_id__in=list(near)).values_list("external_id", flat=True)
        for external_id in known:
            near.pop(str(external_id), None)
    hidden = [p.id for p in near.values() if not p.input and not p.data_removed]
    read = get_many(client, hidden)
    if unread := len(hidden) - len(read):
        # One may be what a token would be paid for again; nor may a later number come before it.
        text = f"replicate: {unread} of {len(hidden)} predictions cannot be read now."
        raise TransientError(text, vendor="replicate", code="unread")
    near |= {prediction.id: prediction for prediction in read}
    readable = [prediction for prediction in near.values() if prediction.input]
    report.unreadable = len(near) - len(readable)
    return readable


def _seeds(since: datetime) -> dict[int, tuple[int, int]]:
    """Return token and job number by the seeds that calls since the backup may have had."""
    moved = Q(status_changed_at__gte=since)
    tokens = Token.objects.filter(~Q(status=TokenStatus.REVEALED) | moved)
    ids = list(tokens.order_by("pk").values_list("pk", flat=True))
    seeds: dict[int, tuple[int, int]] = {}
    for start in range(0, len(ids), _TOKENS_AT_ONCE):
        part = ids[start : start + _TOKENS_AT_ONCE]
        counts = jobs.job_counts(part)
        for token_id in part:
            first = counts.get(token_id, 0)
            # The last job of the backup, too: its call may have been under way.
            for number in range(max(0, first - 1), first + _AHEAD):
                seeds[jobs.seed_of(token_id, number)] = (token_id, number)
    return seeds


@transaction.atomic
def _enter(
    token_id: int, found: Mapping[int, Prediction], report: PaidCallsReport, *, actor: str
) -> None:
    """Enter what was paid for one token; let it wait for the last of the calls."""
    token = Token.objects.select_for_update(of=("self",)).select_related("author").get(pk=token_id)
    known = list(ImageGenerationJob.objects.filter(token=token_id).order_by("pk"))
    under_way = found.get(len(known) - 1)
    if under_way is not None and known[-1].external_id is None:
        jobs.record_prediction(under_way, job_id=known[-1].pk)
        _count(report, [under_way], known[-1].model)
        report.resumed |= {token_id: under_way.id} if token.status in _WANTING else {}
    since = {number: p for number, p in found.items() if number >= len(known)}
    if not since:
        return
    last = since[max(since)]
    wants = token.status in _WANTING
    if wants and (refusal := _prompt_refusal(token, last)):
        report.held[token_id] = refusal
        hold_tokens(token_ids=[token_id], actor=actor, reason=refusal)
        return
    if wants:
        still_open = [job.pk for job in known if job.status in OPEN_JOB_STATUSES]
        jobs.close_jobs(still_open, status=JobStatus.FAILED, error=_FOLLOWED)
    _write_rows(token, len(known), since, wants=wants)
    _count(report, since.values(), jobs.model_of(JobService.REPLICATE))
    if wants:
        prompt = str(last.input.get("prompt"))
        is_fallback = prompt == settings.FALLBACK_CENSORED_PROMPT and prompt != token.prompt
        resume_generation(
            token_id,
            paid_calls=len(since),
            prompt=token.prompt if is_fallback else prompt,
            fallback_used=token.fallback_used or is_fallback,
        )
        report.resumed[token_id] = last.id


def _prompt_refusal(token: Token, prediction: Prediction) -> str:
    """Return why a prediction with our seed is not this token's image, or an empty text."""
    prompt = prediction.input.get("prompt")
    if prompt in (token.prompt, token.author.prompt_text, settings.FALLBACK_CENSORED_PROMPT):
        return ""
    return (
        f"Prediction {prediction.id} was paid for it after the backup, with another prompt: "
        f"{str(prompt)[:200]!r}. The author changed it, and the backup does not know. Put that "
        "prompt back, run recover_after_restore again, then release the token."
    )


def _write_rows(token: Token, first: int, found: Mapping[int, Prediction], *, wants: bool) -> None:
    """Write a row for each number up to the last, so that none is used again as a seed."""
    paid = 0
    for number in range(first, max(found) + 1):
        prediction, is_last = found.get(number), number == max(found)
        job = ImageGenerationJob(
            token=token,
            prompt=token.prompt,
            input=jobs.new_input(token.prompt, seed=jobs.seed_of(token.pk, number)),
            service=JobService.REPLICATE,
            model=jobs.model_of(JobService.REPLICATE),
            attempt_number=token.generation_attempts + paid + 1,
            status=JobStatus.REJECTED,
            error=_REFUSED,
            completed_at=database_now(),
        )
        if prediction is not None:
            paid += 1
            _describe(job, prediction)
            if wants and is_last:
                job.status, job.error, job.completed_at = JobStatus.SUBMITTED, "", None
            elif token.status == TokenStatus.REVEALED and is_last and prediction.is_succeeded:
                job.status, job.error = JobStatus.CAPTURED, ""
        job.save(force_insert=True)
        if prediction is not None and prediction.created_at is not None:
            ImageGenerationJob.objects.filter(pk=job.pk).update(created_at=prediction.created_at)
    ImageGenerationJob.objects.filter(token=token, status=JobStatus.SUBMITTED).update(look_at=Now())


def _describe(job: ImageGenerationJob, prediction: Prediction) -> None:
    job.prompt = str(prediction.input.get("prompt"))
    job.input = dict(prediction.input)
    job.external_id = prediction.id
    job.cost_usd = jobs.price_of(job.service, job.model).of(prediction.predict_time_seconds)
    job.predict_time_seconds = prediction.predict_time_seconds
    job.submitted_at = prediction.created_at
    job.completed_at = prediction.completed_at or database_now()
    job.output_url = next(iter(prediction.output_urls), None)
    # A retry of a failed token fetches the image, as long as Replicate keeps it.
    job.status, job.error_class = JobStatus.FAILED, TransientError.error_class
    job.error = _FORGOTTEN


def _count(report: PaidCallsReport, predictions: Iterable[Prediction], model: str) -> None:
    price = jobs.price_of(JobService.REPLICATE, model)
    found: Sequence[Prediction] = list(predictions)
    report.entered += [prediction.id for prediction in found]
    report.cost_usd += sum((price.of(p.predict_time_seconds) for p in found), Decimal(0))
