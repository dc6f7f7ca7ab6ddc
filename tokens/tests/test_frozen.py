"""A worker that is frozen past its lease, and thawed later, changes nothing and pays nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal

import psutil
import pytest
from django.utils import timezone
from pytest_django import Settings

from authors.factories import AuthorFactory
from glisk.tests.database import database_url
from tokens.factories import TokenFactory
from tokens.models import ImageGenerationJob, PromptSample, Token, TokenTransition
from tokens.pipeline.drain import GenerationDrain
from tokens.pipeline.samples import request_sample
from tokens.pipeline.services import paid_call_seconds
from tokens.pipeline.spend import spent_today
from tokens.states import TokenStatus
from tokens.tests.stage import PATIENCE_SECONDS, Start, Vendors, has_status, is_ready
from tokens.transitions.claims import rescue_stalled

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP and POSIX timers of Linux"),
]

LEASE_SECONDS = 8
MOMENTS = (
    "before_the_check",
    "before_the_send",
    "before_the_id_is_stored",
    "before_the_image_is_stored",
    "during_the_upload",
)


@contextmanager
def frozen_worker(vendors: Vendors, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker, and go on when it stands still."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "glisk.settings",
        "DATABASE_URL": database_url(),
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "REPLICATE_BASE_URL": vendors.replicate.url,
        "REPLICATE_OUTPUT_HOSTS": vendors.replicate.url.removeprefix("http://"),
        "PINATA_API_URL": vendors.pinata.url,
        "PINATA_GATEWAY": vendors.gateway.url,
    }
    command = [sys.executable, "-m", "tokens.tests.frozen_worker", *arguments]
    with subprocess.Popen(command, env=env) as process:
        try:
            wait_until(lambda: has_stopped(process), "the worker stands still")
            yield process
        finally:
            process.kill()


def has_stopped(process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "the worker ended before its moment"
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_SECONDS:g} s: {what}")
        time.sleep(0.02)


def minted(moment: str, worker: Start, settings: Settings) -> Token:
    """Return a token that has yet to come to the moment."""
    token: Token = TokenFactory.create()
    if moment == "during_the_upload":  # another drain's work: its image is made before
        settings.ENABLE_IPFS_WORKER = False
        first = worker()
        first.until(has_status(TokenStatus.UPLOADING, token))
        first.stop()
        settings.ENABLE_IPFS_WORKER = True
    return token


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


def test_the_kernel_ends_it_before_the_lease_ends(settings: Settings) -> None:
    settings.LEASE_SECONDS = LEASE_SECONDS
    from_claim_to_send = paid_call_seconds()
    assert from_claim_to_send + GenerationDrain().longest_freeze_seconds <= LEASE_SECONDS * 3 / 4


@pytest.mark.process
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_frozen_worker_never_wakes_up_again(
    moment: str, worker: Start, vendors: Vendors, settings: Settings
) -> None:
    """The kernel ends it before its lease does, even between its last check and its payment."""
    token = minted(moment, worker, settings)
    with frozen_worker(vendors, moment) as frozen:
        assert frozen.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        let_the_lease_run_out()
        worker().until(is_ready(token))
    assert vendors.paid == 1
    assert ImageGenerationJob.objects.filter(status="captured").count() == 1


@pytest.mark.process
@pytest.mark.parametrize("moment", [each for each in MOMENTS if each != "before_the_send"])
def test_a_worker_that_nothing_watches_finds_its_time_over(
    moment: str, worker: Start, vendors: Vendors, settings: Settings
) -> None:
    """Where no timer can kill it, the clock and the fences do all but the last instant."""
    token = minted(moment, worker, settings)
    with frozen_worker(vendors, moment, "unwatched") as frozen:
        stopped_at = time.monotonic()
        let_the_lease_run_out()
        worker().until(is_ready(token))
        moves = list(TokenTransition.objects.order_by("pk").values_list("pk", flat=True))
        left = Token.objects.filter(pk=token.pk).values().get()
        paid_calls = vendors.creations()
        time.sleep(max(0.0, stopped_at + LEASE_SECONDS / 4 + 0.5 - time.monotonic()))
        frozen.send_signal(signal.SIGCONT)
        if moment == "during_the_upload":  # it stops again for the second file
            time.sleep(0.5)
            frozen.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert frozen.poll() is None
    assert vendors.paid == 1
    assert vendors.creations() == paid_calls
    assert list(TokenTransition.objects.order_by("pk").values_list("pk", flat=True)) == moves
    assert Token.objects.filter(pk=token.pk).values().get() == left


@pytest.mark.process
def test_a_sample_is_paid_once_though_its_worker_froze(worker: Start, vendors: Vendors) -> None:
    sample = try_a_prompt()
    with frozen_worker(vendors, "before_the_send") as frozen:
        assert frozen.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        let_the_samples_time_pass()
        finish(worker, sample)
    assert vendors.paid == 1
    assert spent_today() == Decimal("0.003")


@pytest.mark.process
def test_a_thawed_worker_pays_no_sample_again(worker: Start, vendors: Vendors) -> None:
    """Where no timer can kill it."""
    sample = try_a_prompt()
    with frozen_worker(vendors, "before_the_check", "unwatched") as frozen:
        stopped_at = time.monotonic()
        let_the_samples_time_pass()
        finish(worker, sample)
        calls_before = vendors.creations()
        time.sleep(max(0.0, stopped_at + LEASE_SECONDS / 4 + 0.5 - time.monotonic()))
        frozen.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert frozen.poll() is None
    assert (vendors.paid, vendors.creations()) == (1, calls_before)
    assert spent_today() == Decimal("0.003")
