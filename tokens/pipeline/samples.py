"""Try a prompt: one image, paid once, on no token; asked for by staff, made by the pipeline drain.

Nothing is kept in memory but the call under way. Each turn takes samples that are due, for one
call each, and the row says what comes next: `busy_until` is the lease while a call is under way,
and the next attempt after it. Whoever moves a row from `created` to `calling` makes the paid call,
once, by the same `calls.create_prediction` as a token's; later turns only look for its outcome.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from authors.models import Author
from authors.onboarding import check_prompt
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.clock import boot_seconds, database_clock, database_now
from glisk.engine.drain import CallResult
from glisk.engine.notify import notify
from glisk.errors import (
    NotSentError,
    PermanentError,
    ProviderError,
    UnknownOutcomeError,
    as_provider_error,
    is_for_the_rate,
)
from tokens.models import PromptSample
from tokens.models.job import JobService
from tokens.models.sample import OPEN_SAMPLE_STATUSES, SampleStatus
from tokens.pipeline import calls
from tokens.pipeline.calls import Captured
from tokens.pipeline.jobs import external_ids_near
from tokens.pipeline.lost_calls import Finding, LostCall, find_lost, perhaps_paid
from tokens.pipeline.spend import allowed_by_cap, cap_reason, model_of, price_of
from tokens.transitions import PIPELINE_CHANNEL

if TYPE_CHECKING:
    from tokens.pipeline.drain import PipelineDrain

logger = structlog.get_logger(__name__)

_AT_ONCE = 2
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


class Samples:
    """The part of the pipeline drain that brings samples on, beside the tokens."""

    def __init__(self, drain: PipelineDrain) -> None:
        self.drain = drain
        self.service = drain.generation.services.replicate
        self._under_way: set[int] = set()

    # -- calls --------------------------------------------------------------------------

    def start(self) -> None:
        """Start the calls that are due, as many as there is room for."""
        room = _AT_ONCE - len(self._under_way)
        if room <= 0:
            return
        claimed_at = boot_seconds()  # the lease runs from here, whatever happens in between
        with transaction.atomic():
            due = PromptSample.objects.filter(
                Q(busy_until=None) | Q(busy_until__lte=Now()), status__in=OPEN_SAMPLE_STATUSES
            )
            claimed = list(due.order_by("pk").select_for_update(skip_locked=True)[:room])
            steps = [(s, s.status, self._begin(s, claimed_at)) for s in claimed]
        for sample, status, call in steps:
            if call is not None:
                self._under_way.add(sample.pk)
                key = (sample.pk, status, claimed_at, sample.called_at)
                self.drain.submit("sample", key, call)

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
            send_by = claimed_at + calls.paid_call_seconds()
            return lambda: calls.create_prediction(self.service, job=sample, send_by=send_by)
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
        if admission.breaker.places(1) < 1:
            return False
        if admission.take(1) < 1:
            admission.breaker.give_probe_back()
            return False
        return True

    def _read(self, external_id: str) -> _Read:
        """Read a prediction, and its image if it has ended; runs in a thread."""
        prediction = self.service.client.get_prediction(external_id)
        if not prediction.is_terminal:
            return _Read(prediction)
        if not prediction.is_succeeded or not prediction.output_urls:
            return _Read(prediction, fault=classify_prediction_failure(prediction))
        try:
            image = self.drain.generation.fetch(self.service, prediction.output_urls[0])
        except PermanentError as error:
            return _Read(prediction, fault=error)
        return _Read(prediction, image)

    # -- results ------------------------------------------------------------------------

    def take(self, results: list[CallResult]) -> None:
        """Save what the calls of one turn brought; a second delivery changes nothing."""
        for result in results:
            if result.kind != "sample":
                continue
            pk, status, claimed_at, called_at = result.key
            if status == SampleStatus.CREATED:
                self._called(pk, result, boot_seconds() - claimed_at, called_at)
            elif result.error is not None:
                self._not_read(pk, result.error)
            elif status == SampleStatus.CALLING:
                self._looked(pk, result.value[pk])
            else:
                self._followed(pk, result.value)
            overdue = Now() - timedelta(seconds=settings.GENERATION_TIMEOUT_SECONDS)
            _end(pk, SampleStatus.FAILED, Q(called_at__lte=overdue), error=_OVERDUE)
            self._under_way.discard(pk)

    def _called(self, pk: int, result: CallResult, age_seconds: float, called_at: datetime) -> None:
        """Take the answer to the paid call."""
        admission, error = self.service.admission, result.error
        if error is None:
            admission.breaker.succeeded()
            _submitted(pk, result.value.id)
        elif isinstance(error, NotSentError):
            _not_called(pk, called_at)
        elif isinstance(error, ProviderError) and not isinstance(error, UnknownOutcomeError):
            admission.failed(error, age_seconds=age_seconds)
            if is_for_the_rate(error):
                _not_called(pk, called_at)
            else:
                _end(pk, SampleStatus.FAILED, error=f"Nothing was paid. {error}", cost_usd=None)
        else:  # perhaps paid: a later turn looks for it
            self._not_read(pk, error, counts=True)

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


def _not_called(pk: int, called_at: datetime) -> None:
    """Have a sample called for again, since this call was refused or not made.

    Only if it is the last one: its result may come twice, and another call be under way by then.
    """
    row = PromptSample.objects.filter(pk=pk, status=SampleStatus.CALLING, called_at=called_at)
    row.update(status=SampleStatus.CREATED, called_at=None, busy_until=Now() + _NO_PLACE)


def _open(pk: int, wait: timedelta) -> None:
    """Leave an open sample to a later turn."""
    row = PromptSample.objects.filter(pk=pk, status__in=OPEN_SAMPLE_STATUSES)
    row.update(busy_until=Now() + wait)


def _end(pk: int, status: SampleStatus, *only_if: Q, **columns: object) -> None:
    row = PromptSample.objects.filter(*only_if, pk=pk, status__in=OPEN_SAMPLE_STATUSES)
    row.update(status=status, completed_at=Now(), busy_until=None, **columns)
