"""Try a prompt: one image, paid once, on no token; asked for by staff, made by a step of its own.

Each turn takes samples that are due, for one call each, and the row says what comes next:
`busy_until` is the lease while a call is under way, and the next attempt after it. Whoever moves a
row from `created` to `calling` makes the paid call, once; later turns only look for its outcome.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from authors.models import Author
from authors.onboarding import check_prompt
from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import boot_seconds, database_now
from glisk.engine.broker import notify
from glisk.engine.heartbeat import new_owner
from glisk.engine.step import Done, Failed
from glisk.errors import (
    NotSentError,
    PermanentError,
    ProviderError,
    UnknownOutcomeError,
    as_provider_error,
    is_for_the_rate,
)
from glisk.pauses import Pauses
from tokens.models import PromptSample
from tokens.models.job import OPEN_SAMPLE_STATUSES, JobService, SampleStatus
from tokens.pipeline.collect import Captured, capture_image
from tokens.pipeline.find import Finding, Look, perhaps_paid
from tokens.pipeline.image_vendors import (
    ImageStep,
    OpenJobs,
    Services,
    allowed_by_cap,
    cap_reason,
    paid_call_seconds,
)
from tokens.pipeline.jobs import model_of, new_input, price_of
from tokens.transitions import PIPELINE_CHANNEL

logger = structlog.get_logger(__name__)

# From the end of one call to the next.
_POLL, _LOOK, _NO_PLACE = timedelta(seconds=0.5), timedelta(seconds=2), timedelta(seconds=1)
# So long after the call the vendor's listing surely shows it, if it arrived.
_LOST_AFTER = timedelta(seconds=60)

_HERE_SECONDS = 0.2
_NOT_MADE = "The call was not made; nothing was paid."
_LOST = "The call never arrived at Replicate; nothing was paid."
_FOUND_LATE = "Replicate had accepted the call after all: paid, its image is not used."
_OVERDUE = "Its outcome could not be learnt; it may be paid. Look at Replicate's listing."


class SampleRefused(Exception):
    """No sample is made now; the text says why, for people."""


def sample_cost_usd() -> Decimal:
    """Return what one sample costs in US dollars."""
    return price_of(JobService.REPLICATE).reserved


def request_sample(*, author: Author, prompt: str, actor: str) -> PromptSample:
    """Ask for a sample; while one of the author's is being made, return that one.

    Raises ValidationError if the text can be no prompt; SampleRefused, if the cap leaves no room.
    """
    prompt = prompt.strip()
    check_prompt(prompt)
    price = price_of(JobService.REPLICATE)
    with transaction.atomic():
        open_one = author.samples.filter(status__in=OPEN_SAMPLE_STATUSES)
        if (known := open_one.first()) is not None:
            return known
        if allowed_by_cap(1, price) < 1:
            raise SampleRefused(cap_reason() or "The daily cap leaves no room for a sample.")
        try:
            with transaction.atomic():
                sample = PromptSample.objects.create(
                    author=author,
                    prompt=prompt,
                    actor=actor[:200],
                    input=new_input(prompt),
                    model=model_of(JobService.REPLICATE),
                    cost_usd=price.reserved,
                )
        except IntegrityError:  # the other half of a double click was first
            return open_one.get()
        notify(PIPELINE_CHANNEL)
    return sample


def make_here(sample: PromptSample, *, timeout_seconds: float) -> PromptSample:
    """Bring a sample to its end in this process, by the worker's own step; beside workers as well.

    If the time is up before the paid call was made, it is never made. A kill leaves what a killed
    worker leaves: who goes on looks for the call's outcome, and does not make it again.
    """
    open_jobs, ends = OpenJobs(), time.monotonic() + timeout_seconds
    step = Sample(new_owner(), open_jobs, Services(Pauses()))
    while sample.is_open:
        open_jobs.read()
        for work in step.claim(1) if step.places() else ():
            try:
                step.settle([Done(work, step.call(work))], [])
            except Exception as error:  # noqa: BLE001 - the step judges it
                step.settle([], [Failed(work, error)])
        for breaker in step.breakers:
            if breaker.probing:
                breaker.give_probe_back()
        sample.refresh_from_db()
        if time.monotonic() >= ends:
            uncalled = _row(sample).filter(status=SampleStatus.CREATED)
            why = step.replicate.breaker.reason or "It had no place within Replicate's rate."
            _end(uncalled, SampleStatus.FAILED, error=f"{_NOT_MADE} {why}", cost_usd=None)
            sample.refresh_from_db()
            break
        time.sleep(_HERE_SECONDS)
    return sample


@dataclass(frozen=True)
class Trial:
    """A sample that is due; its status when it was claimed says which call comes next."""

    sample: PromptSample
    status: str
    claimed_at: float  # before the claim; boot_seconds
    look: Look | None = None  # for a call whose reply was lost


@dataclass(frozen=True)
class Read:
    """A prediction as it is now; once it has ended, its image or why there is none."""

    prediction: Prediction
    image: Captured | ProviderError | None = None


class Sample(ImageStep[Trial, "Prediction | Finding | Read"]):
    rare = True
    most = 2

    def places(self) -> int:
        due_in = self.open_jobs.next_sample_in
        return 0 if due_in is None or due_in > 0 else self.free

    def due_in(self) -> float | None:
        due_in = self.open_jobs.next_sample_in
        return due_in if due_in is None or due_in > 0 else _NO_PLACE.total_seconds()

    def claim(self, limit: int) -> Sequence[Trial]:
        """Write down which call comes next for each."""
        claimed_at, works = boot_seconds(), []
        is_due = Q(busy_until=None) | Q(busy_until__lte=Now())
        due = PromptSample.objects.filter(is_due, status__in=OPEN_SAMPLE_STATUSES).order_by("pk")
        self.has_put_off = False
        with transaction.atomic():
            for sample in due.select_for_update(skip_locked=True)[:limit]:
                status, now = sample.status, database_now()
                sample.busy_until = now + timedelta(seconds=settings.LEASE_SECONDS)
                if status == SampleStatus.CREATED:  # the daily cap was asked when the sample was
                    if self.replicate.breaker.places(1) > 0 and self.replicate.take(1) > 0:
                        sample.status, sample.called_at = SampleStatus.CALLING, now
                    else:
                        sample.busy_until, self.has_put_off = now + _NO_PLACE, True
                sample.save(update_fields=["status", "called_at", "busy_until"])
                is_lost = status == SampleStatus.CALLING
                look = Look.for_calls(self.replicate.client, [sample]) if is_lost else None
                if sample.status != SampleStatus.CREATED:
                    works.append(Trial(sample, status, claimed_at, look))
        return works

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.replicate.breaker,)

    def asks(self, work: Trial) -> Sequence[Breaker]:
        return self.breakers if work.status == SampleStatus.CREATED else ()

    def call(self, work: Trial) -> Prediction | Finding | Read:
        sample, client = work.sample, self.replicate.client
        if work.status == SampleStatus.CREATED:
            send_by = work.claimed_at + paid_call_seconds()
            return self.replicate.create_prediction(sample, send_by=send_by)
        if work.look is not None:
            return work.look.find()[sample.pk]
        prediction = client.get_prediction(sample.external_id or "")
        if not prediction.is_terminal:
            return Read(prediction)
        if not prediction.is_succeeded or not prediction.output_urls:
            return Read(prediction, classify_prediction_failure(prediction))
        try:
            return Read(prediction, capture_image(self.replicate, url=prediction.output_urls[0]))
        except PermanentError as error:
            return Read(prediction, error)

    def settle(
        self,
        done: Sequence[Done[Trial, Prediction | Finding | Read]],
        failed: Sequence[Failed[Trial]],
    ) -> None:
        for each in done:
            sample, value = each.work.sample, each.value
            if isinstance(value, Prediction):
                self.replicate.breaker.succeeded()
                _submitted(sample, value.id)
            elif isinstance(value, Finding):
                _looked(sample, value)
            else:
                _followed(sample, value)
        for lost in failed:
            self._failed(lost.work, lost.error)

    def _failed(self, work: Trial, error: Exception) -> None:
        """Take the refusal of a paid call, its loss, or that its outcome cannot be read now."""
        fault = as_provider_error(error, vendor=self.replicate.name)
        if work.status == SampleStatus.CREATED and isinstance(error, ProviderError):
            if isinstance(error, UnknownOutcomeError):  # perhaps paid: a later turn looks for it
                self.replicate.breaker.failed(error)
            else:
                if not isinstance(error, NotSentError):
                    age = boot_seconds() - work.claimed_at
                    self.replicate.refused(error, age_seconds=age)
                _not_called(work.sample, error)
                return
        unexpected = error if fault is not error else None
        logger.warning("sample_waits", sample=work.sample.pk, error=str(fault), exc_info=unexpected)
        _later(work.sample, _LOOK)


def _row(sample: PromptSample) -> QuerySet[PromptSample]:
    """Return the row of a sample, if it is still open."""
    return PromptSample.objects.filter(pk=sample.pk, status__in=OPEN_SAMPLE_STATUSES)


def _not_called(sample: PromptSample, error: ProviderError) -> None:
    """End a sample whose call was refused; if only its time was wrong, have it called again.

    Only if it is the last call: its result may come twice, and another be under way by then.
    """
    row = _row(sample).filter(status=SampleStatus.CALLING, called_at=sample.called_at)
    if isinstance(error, NotSentError) or is_for_the_rate(error):
        row.update(status=SampleStatus.CREATED, called_at=None, busy_until=Now() + _NO_PLACE)
    else:
        _end(row, SampleStatus.FAILED, error=f"Nothing was paid. {error}", cost_usd=None)


def _submitted(sample: PromptSample, external_id: str) -> None:
    """Store the vendor's id, also of a sample that was given up meanwhile: it is paid for."""
    row = PromptSample.objects.filter(pk=sample.pk, external_id=None)
    calling = row.filter(status=SampleStatus.CALLING)
    if not calling.update(status=SampleStatus.SUBMITTED, external_id=external_id, busy_until=None):
        row.filter(status=SampleStatus.FAILED).update(
            external_id=external_id, cost_usd=sample.cost_usd, error=_FOUND_LATE
        )


def _looked(sample: PromptSample, found: Finding) -> None:
    """Go on with a call whose reply was lost; one that never arrived is given up."""
    surely = (sample.called_at or sample.created_at) + _LOST_AFTER <= database_now()
    if found.prediction is not None:
        _submitted(sample, found.prediction.id)
    elif found.unreadable:
        _end(_row(sample), SampleStatus.FAILED, error=str(perhaps_paid(found.unreadable)))
    elif surely and not found.open_because:
        _end(_row(sample), SampleStatus.FAILED, error=_LOST, cost_usd=None)
    else:
        logger.warning("sample_waits", sample=sample.pk, error=found.open_because or "not found")
        _later(sample, _LOOK)


def _followed(sample: PromptSample, read: Read) -> None:
    cost = price_of(sample.service, sample.model).of(read.prediction.predict_time_seconds)
    if read.image is None:
        _later(sample, _POLL)
    elif isinstance(read.image, Captured):
        data, mime = read.image.data, read.image.facts.mime
        _end(_row(sample), SampleStatus.DONE, data=data, mime_type=mime, cost_usd=cost)
    else:
        _end(_row(sample), SampleStatus.FAILED, error=str(read.image), cost_usd=cost)


def _later(sample: PromptSample, wait: timedelta) -> None:
    """Leave an open sample to a later turn, unless it has taken too long."""
    longest = timedelta(seconds=settings.GENERATION_TIMEOUT_SECONDS)
    _end(_row(sample).filter(called_at__lte=Now() - longest), SampleStatus.FAILED, error=_OVERDUE)
    _row(sample).update(busy_until=Now() + wait)


def _end(row: QuerySet[PromptSample], status: SampleStatus, **columns: object) -> None:
    row.update(status=status, completed_at=Now(), busy_until=None, **columns)
