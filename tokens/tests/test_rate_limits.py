"""A vendor that refuses calls for their rate: who waits, for how long, and who does not."""

from __future__ import annotations

import time

import pytest
from pytest_django import Settings

from glisk.breaker import Breaker
from glisk.console.controls import list_rate_use
from glisk.models import SystemState
from tokens.models import ImageGenerationJob, IPFSUploadRecord, PromptSample, Token
from tokens.models.job import SampleStatus
from tokens.pipeline.samples import request_sample
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import CREATE, Start, Vendors, is_open, is_ready

pytestmark = pytest.mark.django_db


def test_a_limit_of_replicate_that_nobody_told_of_costs_no_attempt(
    worker: Start, vendors: Vendors
) -> None:
    vendors.replicate.set_faults(creations_per_minute=120, creations_burst=2)
    tokens = TokenFactory.create_batch(8)
    first, second = worker(), worker()

    def all_ready() -> bool:
        second.step()
        return is_ready(*tokens)()

    first.until(all_ready)
    assert vendors.paid == 8
    assert 429 in vendors.answers()
    assert not is_open("replicate")
    for token in Token.objects.all():
        assert (token.generation_attempts, token.error_log) == (1, [])
    assert not ImageGenerationJob.objects.filter(attempt_number__gt=1).exists()


def test_what_is_paid_for_goes_on_while_new_calls_wait(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    vendors.replicate.set_faults(creations_per_minute=1)
    first, second = TokenFactory.create(), TokenFactory.create()
    drain = worker()
    drain.until(lambda: Token.objects.filter(status=TokenStatus.READY).count() == 1)
    drain.until(lambda: 429 in vendors.answers())
    drain.settle(0.3)
    assert Breaker("replicate").places(1) == 1
    use = next(use for use in list_rate_use() if use["name"] == "replicate")
    assert use["until"] is not None
    waiting = Token.objects.exclude(status=TokenStatus.READY).get()
    assert waiting.pk in (first.pk, second.pk)
    assert (waiting.generation_attempts, waiting.attempts) == (0, 0)
    assert vendors.creations() == 2


def test_a_limit_of_pinata_that_nobody_told_of_is_found(worker: Start, vendors: Vendors) -> None:
    vendors.pinata.set_faults(requests_per_minute=600, requests_burst=4)
    tokens = TokenFactory.create_batch(8)
    began = time.monotonic()
    worker().until(is_ready(*tokens))
    assert time.monotonic() - began >= (16 - 4) / 10 - 0.1
    pins = [call for call in vendors.pinata.calls if call.method == "POST"]
    assert sum(call.status == 200 for call in pins) == 16
    assert not is_open("pinata")
    assert not any(token.error_log for token in Token.objects.all())
    done = IPFSUploadRecord.objects.filter(status="succeeded")
    assert done.count() == 16


def test_a_sample_of_a_prompt_waits_as_well(worker: Start, vendors: Vendors) -> None:
    vendors.replicate.plan_fault("throttle", scope=CREATE)
    author = TokenFactory.create(status=TokenStatus.FAILED, generation_error="x").author
    sample = request_sample(author=author, prompt="a cat", actor="ada")
    worker().until(lambda: PromptSample.objects.get(pk=sample.pk).status == SampleStatus.DONE)
    assert vendors.paid == 1
    assert not is_open("replicate")


def test_the_drain_knows_at_once_for_how_long_the_rate_keeps_it(
    worker: Start, vendors: Vendors
) -> None:
    """It learns that in its claim: the idle tick would be later."""
    until = {"until": time.time() + 60}
    SystemState.objects.create(state_key="limit:replicate", state_value=until)
    TokenFactory.create()
    drain = worker()
    drain.step(0)
    assert drain.tick == pytest.approx(0.05)
    drain.step(0)
    assert drain.tick == pytest.approx(5.0, abs=0.5)
    assert vendors.creations() == 0
