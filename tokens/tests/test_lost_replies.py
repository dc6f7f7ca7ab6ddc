"""Replies that never came, and workers that died: nothing is paid for twice."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.engine.heartbeat import own_prefix
from glisk.timing import timing
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token
from tokens.models.job import JobStatus
from tokens.pipeline.find import Finding, Look
from tokens.pipeline.image_vendors import spent_today
from tokens.pipeline.jobs import record_prediction
from tokens.repairs import retry_what_is_due
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import (
    CREATE,
    Start,
    Vendors,
    Worker,
    ended,
    is_failed,
    is_ready,
    job_of,
)
from tokens.transitions.claims import release_leases_of

pytestmark = pytest.mark.django_db


@pytest.mark.fast
@pytest.mark.parametrize("fault", ["drop_after", "error_after"])
def test_a_reply_lost_after_acceptance_is_found_in_the_listing(
    worker: Start, vendors: Vendors, fault: Any
) -> None:
    vendors.replicate.set_faults(error_after_status=502)
    vendors.replicate.plan_fault(fault, scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1
    assert job_of(token).external_id == vendors.predictions[0].id
    assert float(spent_today()) == vendors.replicate.bill.total_usd


def test_an_edge_that_never_reached_the_vendor_is_not_looked_up(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "lookup_after", 3600.0)
    vendors.replicate.set_faults(server_error_status=521)
    vendors.replicate.plan_fault("server_error", scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert (vendors.paid, vendors.creations()) == (1, 2)


def test_a_reply_lost_before_acceptance_ends_with_one_prediction(
    worker: Start, vendors: Vendors
) -> None:
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.creations() == 2
    assert vendors.paid == 1
    statuses = ImageGenerationJob.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == [JobStatus.REJECTED, JobStatus.CAPTURED]
    token.refresh_from_db()
    assert token.generation_attempts == 1  # nothing was paid for the first


def test_the_listing_is_not_asked_before_a_late_call_must_show_up(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "lookup_after", 60.0)
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    TokenFactory.create()
    drain = worker()
    drain.settle(0.6)
    assert vendors.creations() == 1
    assert not any(call.method == "GET" for call in vendors.replicate.calls)


def test_the_listing_is_not_asked_just_after_a_late_reply_was_lost(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway gives up after half a minute, and the vendor has accepted the call just then."""
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    TokenFactory.create()
    drain = worker()
    drain.step()
    lost = drain.finished()
    monkeypatch.setattr(timing, "lookup_after", 30.0)
    past = timezone.now() - timedelta(seconds=40)
    ImageGenerationJob.objects.update(created_at=past, look_at=past)
    drain.drain.turn(lost)
    drain.settle(0.5)
    assert not any(call.method == "GET" for call in vendors.replicate.calls)


@pytest.fixture
def unseen(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> tuple[Worker, Token]:
    """A call that was accepted with its reply lost, and that the listing does not show yet."""

    monkeypatch.setattr(Look, "find", lambda look: {c.pk: Finding() for c in look.missing})
    settings.GENERATION_MAX_ATTEMPTS = 1
    vendors.replicate.set_faults(error_after_status=500)
    vendors.replicate.plan_fault("error_after", scope=CREATE)
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    drain.drain.turn(drain.finished())
    return drain, token


def test_the_callback_comes_while_the_listing_shows_nothing_yet(
    vendors: Vendors, unseen: tuple[Worker, Token]
) -> None:
    drain, token = unseen
    prediction = ended(vendors, drain)
    ImageGenerationJob.objects.update(look_at=timezone.now() - timedelta(seconds=1))
    drain.drain.turn([])
    late = drain.finished()
    assert [result.kind for result in late] == ["find"]
    assert record_prediction(prediction, job_id=job_of(token).pk) == "recorded"
    drain.drain.turn(late)
    drain.until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1
    assert float(spent_today()) == vendors.replicate.bill.total_usd


def test_the_image_of_a_call_that_was_given_up_is_fetched_by_a_retry(
    vendors: Vendors, unseen: tuple[Worker, Token]
) -> None:
    """The callback came after the token had failed: nobody waited for it, and it is paid."""
    drain, token = unseen
    drain.until(is_failed(token))
    prediction, job = ended(vendors, drain), job_of(token)
    assert record_prediction(prediction, job_id=job.pk) == "unknown"
    job.refresh_from_db()
    assert (job.status, job.external_id) == (JobStatus.FAILED, prediction.id)
    assert float(spent_today()) == vendors.replicate.bill.total_usd
    Token.objects.update(next_attempt_at=timezone.now() - timedelta(hours=1))
    assert retry_what_is_due() == 1
    drain.until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1


def test_inputs_that_the_vendor_completed_are_ours_all_the_same(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API is not documented to show the input as it was sent."""
    as_sent = ReplicateClient.prediction_pages

    def with_defaults(*arguments: Any, **options: Any) -> Iterator[list[Prediction]]:
        for page in as_sent(*arguments, **options):
            yield [
                dataclasses.replace(p, input={**p.input, "go_fast": True, "num_outputs": 1})
                for p in page
            ]

    monkeypatch.setattr(ReplicateClient, "prediction_pages", with_defaults)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1


# -- crashes ----------------------------------------------------------------------------


def crash(worker: Worker) -> None:
    """Kill the worker; its supervisor frees the leases."""
    worker.crash()
    release_leases_of(own_prefix())


def until_job(worker: Worker, token: Token, *statuses: JobStatus) -> None:
    def reached() -> bool:
        return ImageGenerationJob.objects.filter(token=token, status__in=statuses).exists()

    worker.until(reached)


def test_killed_before_the_call_was_made(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = TokenFactory.create()
    first = worker()
    monkeypatch.setattr(first.drain, "submit", lambda *arguments: None)
    first.step()
    assert job_of(token).status == JobStatus.CREATED
    crash(first)
    worker().until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1


@pytest.mark.parametrize("known", ["nothing", JobStatus.SUBMITTED, JobStatus.SUCCEEDED])
def test_killed_between_the_call_and_the_bytes(worker: Start, vendors: Vendors, known: str) -> None:
    token = TokenFactory.create()
    first = worker()
    if known == "nothing":
        first.step()
        first.finished()
    else:
        until_job(first, token, JobStatus(known))
    crash(first)
    worker().until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1


def test_killed_when_the_bytes_were_stored(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.ENABLE_IPFS_WORKER = False
    token = TokenFactory.create()
    first = worker()
    until_job(first, token, JobStatus.CAPTURED)
    crash(first)
    # The vendor is not needed any more, and has deleted the file.
    vendors.replicate.reset(state=True)
    settings.ENABLE_IPFS_WORKER = True
    worker().until(is_ready(token))
    assert vendors.creations() == 0
    assert IPFSUploadRecord.objects.filter(status="succeeded").count() == 2


def test_killed_with_a_refusal_at_hand(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create(prompt="a nude on the beach")
    first = worker()
    until_job(first, token, JobStatus.ERRORED, JobStatus.FAILED)
    crash(first)
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert token.fallback_used
    assert vendors.paid == 2
    assert ImageGenerationJob.objects.count() == 2


def test_killed_again_and_again_a_token_is_set_aside(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    Token.objects.filter(pk=token.pk).update(attempts=20)
    worker().step()
    token.refresh_from_db()
    assert token.status == TokenStatus.FAILED
    assert "worker died 20 times" in (token.generation_error or "")
    assert token.error_class == "stalled"
    assert vendors.creations() == 0


def test_a_call_that_overslept_is_not_made(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "stale_call", -1.0)
    token = TokenFactory.create()
    drain = worker()
    drain.until(lambda: ImageGenerationJob.objects.filter(status=JobStatus.REJECTED).exists())
    assert vendors.creations() == 0
    monkeypatch.setattr(timing, "stale_call", 5.0)
    drain.until(is_ready(token))
    token.refresh_from_db()
    assert vendors.paid == token.generation_attempts == 1


def test_a_reply_for_a_token_that_was_taken_over_is_stored_all_the_same(
    worker: Start, vendors: Vendors
) -> None:
    """The lease ran out while the call was made; whoever goes on must find the id."""
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    accepted = drain.finished()
    Token.objects.update(lease_owner="another", lease_number=F("lease_number") + 1)
    drain.drain.turn(accepted)
    token.refresh_from_db()
    assert token.lease_owner == "another"
    assert job_of(token).external_id == vendors.predictions[0].id
