"""A worker that is frozen past its lease, and thawed later, changes nothing and pays nothing."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.clients import http
from glisk.clients.ipfs import PinataClient
from glisk.engine.drain import run_drain
from glisk.engine.process import Flag
from tokens.models import ImageGenerationJob, PromptSample, Token, TokenTransition
from tokens.pipeline import collect
from tokens.pipeline.image_vendors import ImageService, paid_call_seconds, spent_today
from tokens.pipeline.samples import request_sample
from tokens.states import TokenStatus
from tokens.tasks import GenerationDrain, UploadDrain
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import PATIENCE_SECONDS, Start, Vendors, has_status, is_ready
from tokens.transitions.claims import rescue_stalled

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP and POSIX timers of Linux"),
]

LEASE_SECONDS = 8
PRICE = Decimal("0.003")


@pytest.fixture(autouse=True)
def _lease(settings: Settings) -> None:
    settings.LEASE_SECONDS = LEASE_SECONDS


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def frozen(function: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if not after:
            freeze()
        result = function(*arguments, **options)
        if after:
            freeze()
        return result

    return call


def work(moment: str, watched: bool) -> None:
    """Run a drain that stops itself at a moment, as SIGSTOP may hit anybody."""
    in_time, saved, create = http._until, collect.save_captured, ImageService.create_prediction

    def frozen_with_the_body_in_hand(moment: float, body: bytes) -> Iterator[bytes]:
        (checked,) = in_time(moment, body)
        freeze()
        yield checked

    def frozen_before_saving(captured: Sequence[Any], **options: Any) -> None:
        if captured:  # it is called for refusals, too
            freeze()
        saved(captured, **options)

    patch = pytest.MonkeyPatch()
    patch.setattr(collect, "_decoders", ThreadPoolExecutor(2))  # no thread came with the fork
    match moment:
        case "before the check":
            patch.setattr(ImageService, "create_prediction", frozen(create))
        case "before the send":  # after the very last look at the clock
            patch.setattr(http, "_until", frozen_with_the_body_in_hand)
        case "before the id is stored":
            patch.setattr(ImageService, "create_prediction", frozen(create, after=True))
        case "before the image is stored":
            patch.setattr(collect, "save_captured", frozen_before_saving)
        case "during the upload":
            patch.setattr(PinataClient, "pin_file", frozen(PinataClient.pin_file))
    drain = UploadDrain if moment == "during the upload" else GenerationDrain
    if not watched:  # as on systems that have no dead man's timer
        patch.setattr(drain, "longest_freeze_seconds", None)
    run_drain(drain, Flag())


@contextmanager
def frozen_worker(moment: str, *, watched: bool) -> Iterator[BaseProcess]:
    """Start a worker, and go on when it stands still."""
    connections.close_all()  # each process has connections of its own
    process = multiprocessing.get_context("fork").Process(target=work, args=(moment, watched))
    process.start()
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.is_alive(), "the worker ended before its moment"
            assert time.monotonic() < deadline, "the worker does not stand still"
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.join()


def thaw(process: BaseProcess, *, stopped_at: float) -> None:
    """Let it go on when its time is over, and do what it then does."""
    time.sleep(max(0.0, stopped_at + paid_call_seconds() + 0.2 - time.monotonic()))
    for _ in range(2):  # it may stop again for the second file
        os.kill(process.pid or 0, signal.SIGCONT)
        time.sleep(0.5)
    assert process.is_alive()


def try_a_prompt() -> PromptSample:
    return request_sample(author=AuthorFactory.create(), prompt="A fox", actor="operator")


def let_the_samples_time_pass() -> None:
    """Its lease, and the time in which the listing may lag."""
    long_ago = timezone.now() - timedelta(seconds=61)
    PromptSample.objects.update(busy_until=timezone.now(), called_at=long_ago)


def finish(worker: Start, sample: PromptSample) -> PromptSample:
    """Bring a sample to its end; ask for it again, as people do, if it came to nothing."""

    def has_ended() -> bool:
        sample.refresh_from_db()
        return not sample.is_open

    worker().until(has_ended)
    return sample if sample.status == "done" else finish(worker, try_a_prompt())


def let_the_lease_run_out() -> None:
    """The other worker needs not wait for what time alone would bring."""
    Token.objects.filter(lease_owner__isnull=False).update(lease_expires_at=timezone.now())
    assert rescue_stalled() == 1


def test_a_frozen_worker_never_wakes_up_again(worker: Start, vendors: Vendors) -> None:
    """The kernel ends it before its lease does, even between its last check and its payment."""
    kills_after = GenerationDrain().longest_freeze_seconds
    assert paid_call_seconds() + kills_after <= LEASE_SECONDS * 3 / 4
    token = TokenFactory.create()
    with frozen_worker("before the send", watched=True) as frozen:
        frozen.join(PATIENCE_SECONDS)
        assert frozen.exitcode == -signal.SIGKILL
        let_the_lease_run_out()
        worker().until(is_ready(token))
    assert vendors.paid == 1
    assert ImageGenerationJob.objects.filter(status="captured").count() == 1


@pytest.mark.parametrize(
    "moment",
    [
        "before the check",
        "before the id is stored",
        "before the image is stored",
        "during the upload",
    ],
)
def test_a_worker_that_nothing_watches_finds_its_time_over(
    moment: str, worker: Start, vendors: Vendors, settings: Settings
) -> None:
    """Where no timer can kill it, the clock and the fences do all but the last instant."""
    token = TokenFactory.create()
    if moment == "during the upload":  # another drain's work: its image is made before
        settings.ENABLE_IPFS_WORKER = False
        first = worker()
        first.until(has_status(TokenStatus.UPLOADING, token))
        first.stop()
        settings.ENABLE_IPFS_WORKER = True
    with frozen_worker(moment, watched=False) as frozen:
        stopped_at = time.monotonic()
        let_the_lease_run_out()
        worker().until(is_ready(token))
        moves = list(TokenTransition.objects.order_by("pk").values_list("pk", flat=True))
        left = Token.objects.filter(pk=token.pk).values().get()
        paid_calls = vendors.creations()
        thaw(frozen, stopped_at=stopped_at)
    assert vendors.paid == 1
    assert vendors.creations() == paid_calls
    assert list(TokenTransition.objects.order_by("pk").values_list("pk", flat=True)) == moves
    assert Token.objects.filter(pk=token.pk).values().get() == left


@pytest.mark.parametrize("watched", [True, False])
def test_a_sample_is_paid_once_though_its_worker_froze(
    worker: Start, vendors: Vendors, watched: bool
) -> None:
    sample = try_a_prompt()
    moment = "before the send" if watched else "before the check"
    with frozen_worker(moment, watched=watched) as frozen:
        stopped_at = time.monotonic()
        if watched:
            frozen.join(PATIENCE_SECONDS)
            assert frozen.exitcode == -signal.SIGKILL
        let_the_samples_time_pass()
        finish(worker, sample)
        calls_before = vendors.creations()
        if not watched:
            thaw(frozen, stopped_at=stopped_at)
    assert (vendors.paid, vendors.creations()) == (1, calls_before)
    assert spent_today() == PRICE
