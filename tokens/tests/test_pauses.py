"""A paused stage begins nothing new, finishes what is paid for, and goes on when resumed."""

import pytest
from pytest_django import Settings

from glisk.console.controls import reset_breaker
from glisk.models import SystemState, WorkerHeartbeat
from glisk.pauses import pause_stage, resume_stage
from tokens import tasks
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, Vendors, has_status, is_ready

pytestmark = pytest.mark.django_db


def test_a_paused_generation_pays_nothing_and_finishes_what_is_paid(
    worker: Start, vendors: Vendors
) -> None:
    paid = TokenFactory.create()
    drain = worker()
    drain.until(lambda: ImageGenerationJob.objects.filter(status="submitted").exists())
    pause_stage("generation", actor="ada", reason="a new model")
    drain.settle(0.05)
    waiting = TokenFactory.create()
    drain.until(is_ready(paid))
    drain.settle(0.2)
    assert vendors.paid == 1
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempts) == (TokenStatus.DETECTED, 0)
    resume_stage("generation", actor="ada", reason="done")
    drain.until(is_ready(waiting))


def test_a_paused_upload_keeps_the_images(worker: Start, vendors: Vendors) -> None:
    pause_stage("upload", actor="ada", reason="Pinata moves")
    tokens = TokenFactory.create_batch(3)
    drain = worker()
    drain.until(has_status(TokenStatus.UPLOADING, *tokens))
    drain.settle(0.2)
    assert not IPFSUploadRecord.objects.exists()
    assert set(Token.objects.values_list("lease_owner", flat=True)) == {None}
    resume_stage("upload", actor="ada", reason="done")
    drain.until(is_ready(*tokens))


def test_a_stage_that_is_switched_off_starts_no_drain(settings: Settings) -> None:
    settings.ENABLE_IMAGE_WORKER = settings.ENABLE_IPFS_WORKER = False
    assert tasks.generate_images() == tasks.upload_files() == 0
    assert not WorkerHeartbeat.objects.exists()


def test_a_breaker_that_was_closed_by_hand_lets_tokens_through(
    worker: Start, vendors: Vendors
) -> None:
    SystemState.objects.create(
        state_key="breaker:replicate",
        state_value={"state": "open", "retry_at": "2999-01-01T00:00:00+00:00", "reason": "No."},
    )
    token = TokenFactory.create()
    drain = worker()
    drain.settle(0.2)
    assert vendors.creations() == 0
    assert drain.tick is not None
    assert drain.tick <= 5  # it looks again by itself
    reset_breaker("replicate", actor="ada", reason="the card was renewed")
    drain.until(is_ready(token))
