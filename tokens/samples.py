"""Try a prompt: one image, paid once, on no token; asked for by staff, made by the worker."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from decimal import Decimal

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from authors.models import Author
from authors.prompt_text import check_prompt
from glisk.clients.download import download_output
from glisk.clients.replicate import Prediction, classify_prediction_failure
from glisk.errors import AccountError, PermanentError, ProviderError, UnknownOutcomeError
from glisk.images import inspect_image
from tokens.calls import find_lost
from tokens.models import PromptSample
from tokens.models.job import JobService
from tokens.models.sample import OPEN_SAMPLE_STATUSES, SampleStatus
from tokens.services import ReplicateService
from tokens.spend import allowed_by_cap, cap_reason, model_of, price_of

logger = structlog.get_logger(__name__)

TASK = "tokens.tasks.render_samples"
_AT_ONCE = 5
_POLLS, _POLL_SECONDS = 20, 0.5
# Longer than any call and its polling: only a dead worker's sample is taken over.
_LEASE = timedelta(seconds=120)
# So long after the call the vendor's listing surely shows it, if it arrived.
_LOST_AFTER = timedelta(seconds=60)


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
        async_task(TASK)
    return sample


def render_samples() -> int:
    """Bring open samples on; return how many were worked on. Harmless when run by several."""
    if not settings.ENABLE_IMAGE_WORKER:
        return 0
    seen: list[int] = []
    while len(seen) < _AT_ONCE and (sample := _claim(seen)) is not None:
        seen.append(sample.pk)
        try:
            _Rendering(sample).run()
        finally:
            PromptSample.objects.filter(pk=sample.pk).update(busy_until=None)
    return len(seen)


def _claim(seen: list[int]) -> PromptSample | None:
    now = timezone.now()
    free = Q(busy_until=None) | Q(busy_until__lt=now)
    with transaction.atomic():
        found = PromptSample.objects.filter(free, status__in=OPEN_SAMPLE_STATUSES)
        found = found.exclude(pk__in=seen).order_by("pk")
        sample = found.select_for_update(skip_locked=True).first()
        if sample is not None:
            sample.busy_until = now + _LEASE
            sample.save(update_fields=["busy_until"])
    return sample


class _Rendering:
    """One worker's turn at one sample."""

    def __init__(self, sample: PromptSample) -> None:
        self.sample = sample
        self.service = ReplicateService()
        self.client = self.service.client

    def run(self) -> None:
        try:
            if self.sample.status == SampleStatus.CREATED and self._may_call():
                self._call()
            elif self.sample.status == SampleStatus.CALLING:
                self._look_for_it()
            if self.sample.status == SampleStatus.SUBMITTED:
                self._follow()
        except PermanentError as error:
            self._end(SampleStatus.FAILED, error=str(error))
        except ProviderError as error:
            logger.warning("sample_waits", sample=self.sample.pk, error=str(error))
        called_at = self.sample.called_at
        if self.sample.is_open and called_at and timezone.now() - called_at > _overdue():
            text = "Its outcome could not be learnt; it may be paid. Look at Replicate's listing."
            self._end(SampleStatus.FAILED, error=text)

    def _may_call(self) -> bool:
        """Ask breaker and rate limit; commit, before the call, that it may be under way."""
        admission = self.service.admission
        if admission.breaker.places(1) < 1:
            return False
        if admission.rate.take(1) < 1:
            admission.breaker.give_probe_back()
            return False
        self._save(status=SampleStatus.CALLING, called_at=timezone.now())
        return True

    def _call(self) -> None:
        breaker = self.service.admission.breaker
        try:
            prediction = self.client.create_prediction(input=self.sample.input, webhook_url=None)
        except UnknownOutcomeError as error:
            breaker.failed(error)  # perhaps paid: the next turn looks for it
            return
        except ProviderError as error:
            if isinstance(error, PermanentError) and not isinstance(error, AccountError):
                breaker.succeeded()  # it answered: it is up
            else:
                breaker.failed(error)
            self._end(SampleStatus.FAILED, error=f"Nothing was paid. {error}", cost_usd=None)
            return
        breaker.succeeded()
        self._save(status=SampleStatus.SUBMITTED, external_id=prediction.id)

    def _look_for_it(self) -> None:
        """Find a call whose reply was lost; it is given up, never repeated."""
        called_at = self.sample.called_at or self.sample.created_at
        recent = PromptSample.objects.filter(
            created_at__gte=self.sample.created_at, external_id__isnull=False
        )
        found = find_lost(
            self.client,
            wanted=[(self.sample.pk, self.sample.input)],
            known_ids={str(found) for found in recent.values_list("external_id", flat=True)},
            created_after=called_at - timedelta(minutes=1),
        )
        prediction = found.get(self.sample.pk)
        if prediction is not None:
            self._save(status=SampleStatus.SUBMITTED, external_id=prediction.id)
        elif self.sample.pk in found and timezone.now() - called_at > _LOST_AFTER:
            text = "The call never arrived at Replicate; nothing was paid."
            self._end(SampleStatus.FAILED, error=text, cost_usd=None)

    def _follow(self) -> None:
        """Wait some seconds for the end; a later turn goes on where this one stops."""
        for _ in range(_POLLS):
            prediction = self.client.get_prediction(self.sample.external_id or "")
            if prediction.is_terminal:
                self._finish(prediction)
                return
            time.sleep(_POLL_SECONDS)

    def _finish(self, prediction: Prediction) -> None:
        price = price_of(self.sample.service, self.sample.model)
        cost = price.of(prediction.predict_time_seconds)
        if not prediction.is_succeeded or not prediction.output_urls:
            error = classify_prediction_failure(prediction, vendor=self.sample.service)
            self._end(SampleStatus.FAILED, error=str(error), cost_usd=cost)
            return
        data = download_output(
            prediction.output_urls[0],
            allowed_hosts=self.service.output_hosts,
            max_bytes=settings.IMAGE_MAX_BYTES,
            timeout=settings.HTTP_READ_TIMEOUT_SECONDS,
        )
        facts = inspect_image(data, max_bytes=settings.IMAGE_MAX_BYTES)
        self._end(SampleStatus.DONE, data=data, mime_type=facts.mime, cost_usd=cost)

    def _end(self, status: SampleStatus, **columns: object) -> None:
        self._save(status=status, completed_at=timezone.now(), **columns)

    def _save(self, **columns: object) -> None:
        for name, value in columns.items():
            setattr(self.sample, name, value)
        self.sample.save(update_fields=[*columns])


def _overdue() -> timedelta:
    return timedelta(seconds=settings.GENERATION_TIMEOUT_SECONDS)
