"""WORKER_BATCH_SIZE is the places of one worker: all together never make more calls at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.contrib.postgres.functions import TransactionNow
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from glisk.models import WorkerHeartbeat
from glisk.tests.waiting import at_once
from sandbox.cog.emulator import CogEmulator
from sandbox.http import Call
from sandbox.paint import Painter
from tokens.api.mints import measure_pace
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobService, JobStatus
from tokens.pipeline.image_vendors import free_places, paid_call_seconds
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, Worker, is_ready


def living(*workers: int, stage: str = "generation") -> None:
    """Leave the heartbeats of workers with these main processes."""
    now = timezone.now()
    for pid in workers:
        WorkerHeartbeat.objects.create(
            owner=f"m:{pid}:9:{stage}",
            host="m",
            main_pid=pid,
            pid=9,
            stage=stage,
            started_at=now,
            beat_at=now + timedelta(minutes=5),
        )


def most_at_once(calls: Sequence[Call]) -> int:
    starts = [call.received_at for call in calls]
    return max(sum(c.received_at <= at < c.answered_at for c in calls) for at in starts)


def under_way() -> int:
    return ImageGenerationJob.objects.filter(status=JobStatus.SUBMITTED).count()


def together(*workers: Worker, seconds: float) -> None:
    for _ in range(int(seconds / 0.02)):
        for each in workers:
            each.step(wait=0.01)


@pytest.mark.django_db
@pytest.mark.parametrize("workers", [1, 3])
def test_each_living_worker_brings_its_places(
    worker: Start, vendors: Vendors, settings: Settings, workers: int
) -> None:
    settings.WORKER_BATCH_SIZE = 2
    living(*range(1, workers + 1))
    living(77, stage="upload")  # which makes no images
    TokenFactory.create_batch(9, prompt="never-ending")
    drains = [worker() for _ in range(4)]
    drains[0].until(lambda: [d.step() for d in drains] and under_way() == 2 * workers)
    together(*drains, seconds=0.6)
    assert vendors.creations() == 2 * workers
    assert measure_pace().places == 2 * workers


@pytest.mark.django_db
def test_the_places_of_the_self_hosted_server_are_shared_by_all_workers(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.IMAGE_SERVICE, settings.SELFHOSTED_CONCURRENCY = "selfhosted", 2
    living(1, 2, 3)
    tokens = TokenFactory.create_batch(6)
    with CogEmulator(slots=9, generation_seconds=0.2, painter=Painter(image_size=96)) as cog:
        settings.SELFHOSTED_IMAGE_API_URL = cog.url
        drains = [worker() for _ in range(3)]
        drains[0].until(lambda: [d.step(wait=0.01) for d in drains] and is_ready(*tokens)())
        assert len(cog.bill) == 6
        made = [call for call in cog.calls if call.method == "PUT"]
        assert most_at_once(made) == 2


@pytest.mark.django_db
def test_what_is_long_over_takes_no_place(settings: Settings) -> None:
    settings.WORKER_BATCH_SIZE = 5
    statuses = [TokenStatus.GENERATING] * 3 + [TokenStatus.FAILED]
    for token_status in statuses:
        error = "x" if token_status == TokenStatus.FAILED else None
        _begin(TokenFactory.create(status=token_status, generation_error=error))
    assert free_places(JobService.REPLICATE, most=None) == 2
    assert free_places(JobService.SELFHOSTED, most=1) == 1
    # A call that begins and is connected as late as it may.
    to_connect = paid_call_seconds() + settings.HTTP_CONNECT_TIMEOUT_SECONDS
    for status, seconds in {
        JobStatus.CREATED: to_connect + settings.HTTP_READ_TIMEOUT_SECONDS,  # the reply is lost
        JobStatus.SUBMITTED: settings.GENERATION_TIMEOUT_SECONDS,
    }.items():
        for job in ImageGenerationJob.objects.all():
            job.status, job.external_id = status, f"x{job.pk}"
            job.save()
        since = TransactionNow() - timedelta(seconds=seconds)
        ImageGenerationJob.objects.update(created_at=since + timedelta(seconds=0.1))
        assert free_places(JobService.REPLICATE, most=None) == 2
        ImageGenerationJob.objects.update(created_at=since - timedelta(seconds=0.1))
        assert free_places(JobService.REPLICATE, most=None) == 5


@pytest.mark.django_db(transaction=True)
def test_processes_that_ask_at_once_never_take_a_place_twice(settings: Settings) -> None:
    settings.WORKER_BATCH_SIZE = 5
    numbers = [token.pk for token in TokenFactory.create_batch(32)]
    Token.objects.update(status=TokenStatus.GENERATING)

    def ask(process: int) -> None:
        for token_id in numbers[8 * process : 8 * process + 8]:
            with transaction.atomic():
                if free_places(JobService.REPLICATE, most=None) > 0:
                    _begin(Token.objects.get(pk=token_id))

    at_once(4, ask)
    assert ImageGenerationJob.objects.count() == 5


def _begin(token: Token) -> None:
    ImageGenerationJob.objects.create(
        token=token, prompt="p", input={}, service="replicate", model="a/b", attempt_number=1
    )
