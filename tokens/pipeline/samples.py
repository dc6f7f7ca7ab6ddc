"""Try a prompt: one image, paid once, on no token; asked for by staff, made by a step of its own.

Nothing is kept in memory but the call under way. Each turn takes samples that are due, for one
call each, and the row says what comes next: `busy_until` is the lease while a call is under way,
and the next attempt after it. Whoever moves a row from `created` to `calling` makes the paid call,
once, by the same `create_prediction` as a token's; later turns only look for its outcome.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from authors.models import Author
from authors.onboarding import check_prompt
from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import boot_seconds, database_clock, database_now
from glisk.engine.broker import notify
from glisk.engine.step import Done, Failed, Step
from glisk.errors import (
    NotSentError,
    PermanentError,
    ProviderError,
    UnknownOutcomeError,
    as_provider_error,
    is_for_the_rate,
)
from tokens.models import PromptSample
from tokens.models.job import OPEN_SAMPLE_STATUSES, JobService, SampleStatus
from tokens.pipeline.collect import Captured, capture_image
from tokens.pipeline.find import Finding, LostCall, find_lost, perhaps_paid
from tokens.pipeline.image_vendors import (
    OpenJobs,
    ReplicateService,
    allowed_by_cap,
    cap_reason,
    create_prediction,
    paid_call_seconds,
)
from tokens.pipeline.jobs import external_ids_near, model_of, price_of
from tokens.transitions import PIPELINE_CHANNEL

logger = structlog.get_logger(__name__)

# From the end of one call to the next.
_POLL, _LOOK, _NO_PLACE = timedelta(seconds=0.5), timedelta(seconds=2), timedelta(seconds=1)
# So long after the call the vendor's listing surely shows it, if it arrived.
_LOST_AFTER = timedelta(seconds=60)

_LOST = "The call never arrived at Replicate; nothing was paid."
_FOUND_LATE = "Replicate had accepted the call after all: paid, its image is not used."
_OVERDUE = "Its outcome could not be learnt; it may be paid. Look at Replicate's listing."


class SampleRefused(Exception):
    """No sample is made now; the text says why, for people."""


def sample_cost_usd() -> Decimal:
    """Return what one sample costs in US dollars."""
    return price_of(JobService.REPLICATE, model_of(JobService.REPLICATE)).reserved


def request_sample(*, author: Author, prompt: str, actor: str) -> PromptSample:
    """Ask for a sample; while one of the author's is being made, return that one.

    Raises:
        ValidationError: the text can be no prompt.
        SampleRefused: the daily cap leaves no room.
    """
    prompt = prompt.strip()
    check_prompt(prompt)
    model = model_of(JobService.REPLICATE)
    price = price_of(JobService.REPLICATE, model)
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
                    input={"prompt": prompt, "seed": secrets.randbelow(2**31)},
                    model=model,
                    cost_usd=price.reserved,
                )
        except IntegrityError:  # the other half of a double click was first
            return open_one.get()
        notify(PIPELINE_CHANNEL)
    return sample


@dataclass(frozen=True)
class _Read:
    """A prediction as it is now, with its image or why there is none, once it has ended."""

    prediction: Prediction
    image: Captured | None = None
    fault: ProviderError | None = None


@dataclass(frozen=True)
class Trial:
    """A sample that is due, with the call that comes next for it."""

    pk: int
    status: str  # when it was claimed
    claimed_at: float  # before the claim; boot_seconds
    called_at: datetime | None
    call: Callable[[], Any]


class Sample(Step[Trial, Any]):
    rare = True
    most = 2

    def __init__(self, owner: str, open_jobs: OpenJobs, replicate: ReplicateService) -> None:
        super().__init__(owner)
        self.open_jobs = open_jobs
        self.service = replicate

    def places(self) -> int:
        due_in = self.open_jobs.next_sample_in
        return 0 if due_in is None or due_in > 0 else self.most - len(self.under_way)

    def due_in(self) -> float | None:
        due_in = self.open_jobs.next_sample_in
        return due_in if due_in is None or due_in > 0 else _NO_PLACE.total_seconds()

    def claim(self, limit: int) -> Sequence[Trial]:
        claimed_at = boot_seconds()  # the lease runs from here, whatever happens in between
        with transaction.atomic():
            due = PromptSample.objects.filter(
                Q(busy_until=None) | Q(busy_until__lte=Now()), status__in=OPEN_SAMPLE_STATUSES
            )
            claimed = list(due.order_by("pk").select_for_update(skip_locked=True)[:limit])
            steps = [(s, s.status, self._begin(s, claimed_at)) for s in claimed]
        self.has_put_off = any(call is None for *_, call in steps)
        return [
            Trial(sample.pk, status, claimed_at, sample.called_at, call)
            for sample, status, call in steps
            if call is not None
        ]

    @property
    def breakers(self) -> Sequence[Breaker]:
        return (self.service.admission.breaker,)

    def asks(self, work: Trial) -> Sequence[Breaker]:
        return self.breakers if work.status == SampleStatus.CREATED else ()

    def call(self, work: Trial) -> Any:
        return work.call()

    def _begin(self, sample: PromptSample, claimed_at: float) -> Callable[[], Any] | None:
        """Write down which call comes next, and return it for a thread; None for none now."""
        row = PromptSample.objects.filter(pk=sample.pk)
        lease = Now() + timedelta(seconds=settings.LEASE_SECONDS)
        if sample.status == SampleStatus.CREATED:
            if not self._may_pay():
                row.update(busy_until=Now() + _NO_PLACE)
                return None
            sample.called_at = database_now()
            row.update(status=SampleStatus.CALLING, called_at=sample.called_at, busy_until=lease)
            send_by = claimed_at + paid_call_seconds()
            return lambda: create_prediction(self.service, job=sample, send_by=send_by)
        row.update(busy_until=lease)
        if sample.status == SampleStatus.SUBMITTED:
            return lambda: self._read(sample.external_id or "")
        lost = LostCall(sample.pk, sample.input, sample.called_at or sample.created_at)
        known, database = external_ids_near(lost.made_at), database_clock()
        return lambda: find_lost(
            self.service.client, wanted=[lost], known_ids=known, database=database
        )

    def _may_pay(self) -> bool:
        """Ask breaker and rate limit; the daily cap was asked when the sample was."""
        admission = self.service.admission
        return admission.breaker.places(1) > 0 and admission.take(1) > 0

    def _read(self, external_id: str) -> _Read:
        """Read a prediction, and its image if it has ended; runs in a thread."""
        prediction = self.service.client.get_prediction(external_id)
        if not prediction.is_terminal:
            return _Read(prediction)
        if not prediction.is_succeeded or not prediction.output_urls:
            return _Read(prediction, fault=classify_prediction_failure(prediction))
        try:
            image = capture_image(self.service, url=prediction.output_urls[0])
        except PermanentError as error:
            return _Read(prediction, fault=error)
        return _Read(prediction, image)

    def settle(self, done: Sequence[Done[Trial, Any]], failed: Sequence[Failed[Trial]]) -> None:
        """Save what the calls brought; a second delivery changes nothing."""
        for each in done:
            pk = each.work.pk
            if each.work.status == SampleStatus.CREATED:
                self.service.admission.breaker.succeeded()
                _submitted(pk, each.value.id)
            elif each.work.status == SampleStatus.CALLING:
                self._looked(pk, each.value[pk])
            else:
                self._followed(pk, each.value)
        for lost in failed:
            if lost.work.status == SampleStatus.CREATED:
                self._not_accepted(lost.work, lost.error)
            else:
                self._not_read(lost.work.pk, lost.error)
        overdue = Q(called_at__lte=Now() - timedelta(seconds=settings.GENERATION_TIMEOUT_SECONDS))
        for trial in [each.work for each in done] + [lost.work for lost in failed]:
            _end(trial.pk, SampleStatus.FAILED, overdue, error=_OVERDUE)

    def _not_accepted(self, trial: Trial, error: Exception) -> None:
        """Take the refusal of the paid call, or its loss."""
        if isinstance(error, NotSentError):
            _not_called(trial)
        elif isinstance(error, ProviderError) and not isinstance(error, UnknownOutcomeError):
            age = boot_seconds() - trial.claimed_at
            self.service.admission.failed(error, age_seconds=age)
            if is_for_the_rate(error):
                _not_called(trial)
            else:
                _end(
                    trial.pk, SampleStatus.FAILED, error=f"Nothing was paid. {error}", cost_usd=None
                )
        else:  # perhaps paid: a later turn looks for it
            self._not_read(trial.pk, error, counts=True)

    def _looked(self, pk: int, found: Finding) -> None:
        """Go on with a call whose reply was lost; one that never arrived is given up."""
        if found.prediction is not None:
            _submitted(pk, found.prediction.id)
            return
        _open(pk, _LOOK)
        if found.unreadable:
            _end(pk, SampleStatus.FAILED, error=str(perhaps_paid(found.unreadable)))
        elif found.open_because:
            logger.warning("sample_waits", sample=pk, error=found.open_because)
        else:
            surely = Q(called_at__lte=Now() - _LOST_AFTER)
            _end(pk, SampleStatus.FAILED, surely, error=_LOST, cost_usd=None)

    def _followed(self, pk: int, read: _Read) -> None:
        if not read.prediction.is_terminal:
            _open(pk, _POLL)
            return
        sample = PromptSample.objects.only("service", "model").get(pk=pk)
        cost = price_of(sample.service, sample.model).of(read.prediction.predict_time_seconds)
        if read.image is None:
            _end(pk, SampleStatus.FAILED, error=str(read.fault), cost_usd=cost)
        else:
            data, mime = read.image.data, read.image.facts.mime
            _end(pk, SampleStatus.DONE, data=data, mime_type=mime, cost_usd=cost)

    def _not_read(self, pk: int, error: Exception, *, counts: bool = False) -> None:
        fault = as_provider_error(error, vendor=self.service.name)
        unexpected = error if fault is not error else None
        logger.warning("sample_waits", sample=pk, error=str(fault), exc_info=unexpected)
        if counts and unexpected is None:
            self.service.admission.breaker.failed(fault)
        _open(pk, _LOOK)


def _submitted(pk: int, external_id: str) -> None:
    """Store the vendor's id, also of a sample that was given up meanwhile: it is paid for."""
    row = PromptSample.objects.filter(pk=pk, external_id=None)
    calling = row.filter(status=SampleStatus.CALLING)
    if calling.update(status=SampleStatus.SUBMITTED, external_id=external_id, busy_until=None):
        return
    sample = row.filter(status=SampleStatus.FAILED).first()
    if sample is not None:
        cost = price_of(sample.service, sample.model).reserved
        row.update(external_id=external_id, cost_usd=cost, error=_FOUND_LATE)


def _not_called(trial: Trial) -> None:
    """Have a sample called for again, since this call was refused or not made.

    Only if it is the last one: its result may come twice, and another call be under way by then.
    """
    row = PromptSample.objects.filter(
        pk=trial.pk, status=SampleStatus.CALLING, called_at=trial.called_at
    )
    row.update(status=SampleStatus.CREATED, called_at=None, busy_until=Now() + _NO_PLACE)


def _open(pk: int, wait: timedelta) -> None:
    """Leave an open sample to a later turn."""
    row = PromptSample.objects.filter(pk=pk, status__in=OPEN_SAMPLE_STATUSES)
    row.update(busy_until=Now() + wait)


def _end(pk: int, status: SampleStatus, *only_if: Q, **columns: object) -> None:
    row = PromptSample.objects.filter(*only_if, pk=pk, status__in=OPEN_SAMPLE_STATUSES)
    row.update(status=status, completed_at=Now(), busy_until=None, **columns)
