"""Looking for lost replies in a listing that is long, late, refused, or without its data."""

import html
import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk import clock
from glisk.breaker import Breaker
from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.engine.schedules import rescue
from glisk.errors import AccountError, InvalidRequestError, TransientError
from glisk.models import SystemState, WorkerHeartbeat
from glisk.timing import timing
from tokens.models import ImageGenerationJob, PromptSample, Token, TokenTransition
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import find, jobs, poll, samples
from tokens.pipeline.image_vendors import spent_today
from tokens.pipeline.jobs import external_ids_near
from tokens.pipeline.poll import Poll, get_many
from tokens.pipeline.samples import request_sample
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import (
    CREATE,
    Start,
    Vendors,
    Worker,
    breaker,
    is_open,
    is_ready,
    job_of,
    until_ended,
)
from tokens.transitions.claims import Claim

pytestmark = pytest.mark.django_db


def lose_a_reply(worker: Worker, token: Token) -> ImageGenerationJob:
    """Turn until the reply to the token's call is lost; the worker is gone then."""
    worker.until(lambda: ImageGenerationJob.objects.filter(token=token).exists())
    worker.rest()
    worker.crash()
    Token.objects.update(lease_owner=None, lease_expires_at=None)
    return job_of(token)


def hours_ago(job: ImageGenerationJob, vendors: Vendors, hours: float) -> None:
    """Move the call, and what the vendor made of it, into the past."""
    ImageGenerationJob.objects.filter(pk=job.pk).update(
        created_at=job.created_at - timedelta(hours=hours)
    )
    for prediction in vendors.predictions:
        prediction.created_at -= hours * 3600


def test_a_vendor_that_is_away_is_not_asked_about_each_prediction() -> None:
    asked: list[str] = []

    def answer(external_id: str) -> Prediction:
        asked.append(external_id)
        if external_id == "gone":
            raise InvalidRequestError("?", vendor="replicate", status=404)
        if external_id != "there":
            raise TransientError("away", vendor="replicate")
        return Prediction(id=external_id, status="succeeded")

    client: Any = SimpleNamespace(get_prediction=answer)
    found = get_many(client, ["gone", "a", "there", "b", "c", "d"])
    assert [(each.id, each.status) for each in found] == [
        ("gone", "aborted"),
        ("there", "succeeded"),
    ]
    assert asked[-1] == "c"  # the third that cannot be read is the last
    with pytest.raises(TransientError):
        get_many(client, ["a", "b"])


def test_a_prediction_that_is_one_call_is_not_taken_for_another() -> None:
    """The listing leaves its input out; read by its id it has one, and that of one call."""
    now = timezone.now()
    calls: Any = [
        SimpleNamespace(pk=pk, created_at=now, input={"prompt": prompt})
        for pk, prompt in ((1, "a fox"), (2, "a hare"))
    ]
    listed = Prediction(id="x", status="succeeded", created_at=now)
    client: Any = SimpleNamespace(
        clock=None,
        prediction_pages=lambda **_bounds: iter([[listed]]),
        get_prediction=lambda _id: replace(listed, input={"prompt": "a fox", "steps": 4}),
    )
    found = find.Look(client, calls, set(), clock.database_clock()).find()
    assert found[1].prediction is not None
    assert (found[1].prediction.id, found[2]) == ("x", find.Finding())


def test_a_poll_reads_the_newest_five_pages_and_then_one_by_one() -> None:
    pages: list[int] = []
    read: list[str] = []

    def listing(**_bounds: datetime) -> Iterator[list[Prediction]]:
        while True:
            pages.append(len(pages))
            yield [Prediction(id=f"of page {len(pages)}", status="processing")]

    def one(external_id: str) -> Prediction:
        read.append(external_id)
        return Prediction(id=external_id, status="succeeded")

    client = SimpleNamespace(prediction_pages=listing, get_prediction=one)
    step: Any = SimpleNamespace(replicate=SimpleNamespace(client=client))
    jobs: Any = [
        SimpleNamespace(external_id=f"of page {number}", created_at=timezone.now())
        for number in (1, 5, 6)
    ]
    Poll.call(step, poll.Look(jobs, listed=True))
    assert (len(pages), read) == (5, ["of page 6"])


def test_a_call_is_looked_for_when_its_time_is_over() -> None:
    token = TokenFactory.create()
    claim = Claim(token.pk, 1, 1, "p", 0, False)
    made = jobs.create_jobs([(claim, JobService.REPLICATE)], look_in=60)[token.pk]
    made.refresh_from_db()
    assert made.look_at is not None
    assert 50 < (made.look_at - made.created_at).total_seconds() < 70


def test_calls_of_a_time_are_those_of_an_hour_around_it() -> None:
    now = timezone.now()
    for minutes in (-61, -59, 0, 59, 61):
        job = ImageGenerationJob.objects.create(
            token_id=1,
            prompt="p",
            input={},
            service="replicate",
            attempt_number=1,
            status=JobStatus.FAILED,
            external_id=f"at {minutes}",
            cost_usd=0,
        )
        made = now + timedelta(minutes=minutes)
        ImageGenerationJob.objects.filter(pk=job.pk).update(created_at=made)
    assert external_ids_near(now) == {"at -59", "at 0", "at 59"}


# -- the data is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("omits", ["logs", "input,output,logs"])
def test_a_lost_reply_whose_data_is_deleted_keeps_its_price(
    worker: Start, vendors: Vendors, omits: str
) -> None:
    vendors.replicate.set_faults(list_omits=omits)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    token = TokenFactory.create()
    job = lose_a_reply(worker(), token)
    until_ended(vendors)
    hours_ago(job, vendors, 1.5)
    vendors.replicate.set_faults(data_removed=True)
    drain = worker()
    drain.until(lambda: ImageGenerationJob.objects.filter(token=token).count() == 2)
    lost = vendors.predictions[0].id
    vendors.replicate.set_faults(data_removed=False)
    drain.until(is_ready(token))
    job.refresh_from_db()
    assert (job.status, job.external_id) == (JobStatus.FAILED, None)
    assert job.cost_usd is not None
    assert lost in job.error
    assert "price stands" in job.error
    assert TokenTransition.objects.filter(token=token, reason__contains=lost).exists()
    booked = ImageGenerationJob.objects.filter(cost_usd__isnull=False).count()
    assert booked == vendors.paid == 2


def test_what_is_known_or_of_another_time_makes_no_doubt(worker: Start, vendors: Vendors) -> None:
    known = TokenFactory.create()
    drain = worker()
    drain.until(is_ready(known))
    vendors.replicate.set_faults(data_removed=True)
    vendors.predictions[0].created_at += 1
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    token = TokenFactory.create()
    drain.until(lambda: ImageGenerationJob.objects.filter(token=token, status="rejected").exists())
    vendors.replicate.set_faults(data_removed=False)
    drain.until(is_ready(token))
    assert vendors.paid == 2


# -- the listing is long ----------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_thousands_of_newer_predictions_do_not_hide_a_lost_reply(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    """A hundred thousand since the call; within its window only a few hundred."""
    monkeypatch.setattr(find, "MAX_PAGES", 4)
    vendors.replicate.plan_fault(fault, scope=CREATE)
    token = TokenFactory.create()
    job = lose_a_reply(worker(), token)
    hours_ago(job, vendors, 100)
    vendors.replicate.set_faults(foreign_per_minute=15)
    worker().until(is_ready(token))
    assert vendors.paid == 1
    assert vendors.listings() <= 10


@pytest.mark.parametrize("bounds", ["ignored", "misunderstood"])
def test_a_listing_that_cannot_be_searched_pays_nothing_and_is_said(
    worker: Start,
    vendors: Vendors,
    admin_client: Client,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    bounds: str,
) -> None:
    monkeypatch.setattr(find, "MAX_PAGES", 4)
    monkeypatch.setattr(timing, "lookup_late_after", 0.5)
    if bounds == "misunderstood":  # nothing at all is shown of before
        pages = ReplicateClient.prediction_pages

        def none_before(client: ReplicateClient, **bound: datetime) -> Any:
            return iter([[]]) if bound else pages(client)

        monkeypatch.setattr(ReplicateClient, "prediction_pages", none_before)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    token = TokenFactory.create()
    job = lose_a_reply(worker(), token)
    hours_ago(job, vendors, 100)
    vendors.replicate.set_faults(foreign_per_minute=60, list_ignores_bounds=True)
    drain = worker()
    with structlog.testing.capture_logs() as logs:
        drain.until(lambda: [e for e in logs if e["event"] == "prediction_not_found_out"])
        looks = vendors.listings()
        drain.until(lambda: vendors.listings() > looks + 10)
    (said,) = [entry for entry in logs if entry["event"] == "prediction_not_found_out"]
    assert said["log_level"] == "error"
    assert "more than" in said["reason"]
    job.refresh_from_db()
    assert (job.status, job.error) == (JobStatus.CREATED, said["reason"])
    assert vendors.creations() == 1
    settings.STUCK_AFTER_SECONDS = 0.1
    for page in (*shown_to_operators(admin_client), page_of(token, admin_client)):
        assert "paid call was lost" in page
        assert "Replicate's listing shows more than" in page
    vendors.replicate.set_faults(foreign_per_minute=0)
    drain.until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1


def test_an_unreadable_prediction_of_that_time_leaves_the_question_open(
    worker: Start, vendors: Vendors
) -> None:
    """It may be ours: neither paid again nor given up while it can be read later."""
    vendors.replicate.set_faults(list_omits="input,output,logs")
    vendors.replicate.plan_fault("server_error", times=10_000, scope="GET /v1/predictions/")
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    token = TokenFactory.create()
    drain = worker()
    drain.until(
        lambda: ImageGenerationJob.objects.filter(error__contains="cannot be read").exists()
    )
    looks = vendors.listings()
    drain.until(lambda: vendors.listings() > looks)
    assert vendors.creations() == 1
    vendors.replicate.plan.planned.clear()
    drain.until(is_ready(token))
    assert vendors.paid == vendors.creations() == 1
    assert job_of(token).error == ""


# -- the listing is refused -------------------------------------------------------------------


@pytest.mark.parametrize("status", [405, 429])
def test_without_the_listing_all_others_go_on_and_the_lost_one_waits(
    worker: Start, vendors: Vendors, admin_client: Client, status: int
) -> None:
    vendors.replicate.set_faults(list_refusal=status)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    lost = TokenFactory.create()
    drain = worker()
    drain.until(lambda: is_open("replicate_listing"))
    others = TokenFactory.create_batch(8)  # too many to be read one by one, if that can be helped
    drain.until(is_ready(*others))
    assert not is_open()
    assert not breaker("replicate").get("openings")
    assert job_of(lost).status == JobStatus.CREATED
    for page in shown_to_operators(admin_client):
        assert "Lost replies not found" in page
    assert f"GET /v1/predictions answered HTTP {status}" in page_of(lost, admin_client)
    assert "listing" not in page_of(others[0], admin_client)
    assert vendors.creations() == 9
    vendors.replicate.set_faults(list_refusal=0)
    drain.until(is_ready(lost))
    assert vendors.paid == vendors.creations() == 9
    assert breaker("replicate_listing")["state"] == "closed"


@pytest.mark.parametrize("status", [403, 500])
def test_nothing_new_is_paid_while_nobody_can_read_how_predictions_end(
    worker: Start, vendors: Vendors, settings: Settings, admin_client: Client, status: int
) -> None:
    """New calls work all the while: their success says nothing of the reads."""
    settings.WORKER_BATCH_SIZE = 2
    vendors.replicate.set_faults(server_error_status=status)
    vendors.replicate.plan_fault("server_error", times=10_000, scope="^GET /v1/predictions/")
    tokens = TokenFactory.create_batch(6)
    drain = worker()
    drain.until(lambda: is_open("replicate_reads"))
    drain.settle(1.5)
    assert vendors.paid == 2
    assert not is_open()
    for page in (*shown_to_operators(admin_client), page_of(tokens[5], admin_client)):
        why = "does not say how predictions end" if status == 403 else "is unavailable"
        assert f"Image generation paused: Replicate {why}" in page
    vendors.replicate.plan.planned.clear()
    drain.until(is_ready(*tokens))
    assert vendors.paid == vendors.creations() == 6
    assert breaker("replicate_reads")["state"] == "closed"


def test_one_call_tells_whether_predictions_can_be_read_again(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is under way that could be read, and another worker has found the reads refused.

    The read of that one call is the probe: nobody has taken it before.
    """
    monkeypatch.setattr(timing, "probe_window", 1e6)
    monkeypatch.setattr(timing, "account_wait", 3600.0)
    Breaker("replicate_reads").failed(AccountError("HTTP 403", vendor="replicate"))
    tokens = TokenFactory.create_batch(3)
    first, second = worker(), worker()
    first.step()
    assert vendors.creations() == 0
    due = breaker("replicate_reads") | {"retry_at": timezone.now().isoformat()}
    SystemState.objects.filter(pk="breaker:replicate_reads").update(state_value=due)
    time.sleep(timing.breaker_refresh)
    for drain in (first, second):
        drain.step(0)
    first.rest()
    second.rest()
    assert vendors.creations() == 1
    first.until(is_ready(*tokens))
    assert vendors.paid == 3


# -- clocks that differ -------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-900.0, 5400.0])
@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_a_vendors_clock_that_differs_pays_nothing_twice(
    worker: Start, vendors: Vendors, ahead: float, fault: Any
) -> None:
    vendors.replicate.set_faults(clock_ahead_seconds=ahead)
    vendors.replicate.plan_fault(fault, scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    assert vendors.paid == 1


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set this machine's clock wrong, for all of the program; the database keeps its own."""

    def set_clock(ahead: float) -> None:
        real_now, real_time = timezone.now, time.time
        monkeypatch.setattr(timezone, "now", lambda: real_now() + timedelta(seconds=ahead))
        monkeypatch.setattr(clock.time, "time", lambda: real_time() + ahead)

    return set_clock


@pytest.mark.parametrize("ahead", [301.0, -400.0])
def test_a_workers_clock_that_differs_cancels_nothing_and_looks_not_too_early(
    worker: Start,
    vendors: Vendors,
    wrong_clock: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
) -> None:
    monkeypatch.setattr(timing, "lookup_after", 10.0)
    wrong_clock(ahead)
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    TokenFactory.create()
    drain = worker()
    drain.until(lambda: vendors.creations() == 1)
    running = TokenFactory.create(prompt="a never-ending story")
    drain.until(lambda: ImageGenerationJob.objects.filter(token=running, status="submitted"))
    drain.settle(0.5)
    assert vendors.listings() == 0
    assert not any(call.path.endswith("/cancel") for call in vendors.replicate.calls)


def test_a_vendors_wrong_clock_is_on_the_dashboard(
    worker: Start, vendors: Vendors, admin_client: Client
) -> None:
    vendors.replicate.set_faults(clock_ahead_seconds=-120)
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_ready(token))
    drain.until(lambda: SystemState.objects.filter(pk="alarm:clock_Replicate").exists())
    for page in shown_to_operators(admin_client):
        assert re.search("Replicate's clock is 12[01] s behind the database's", page)


def test_a_workers_wrong_clock_is_on_the_dashboard(
    admin_client: Client, wrong_clock: Callable[[float], None]
) -> None:
    wrong_clock(301.0)
    rescue()
    for page in shown_to_operators(admin_client):
        assert "clock is 301 s ahead of the database's" in page
    wrong_clock(-301.0)
    rescue()
    assert not SystemState.objects.filter(pk__startswith="alarm:clock").exists()


# -- samples ------------------------------------------------------------------------------------


def test_a_sample_waits_for_a_refused_listing_and_keeps_its_price(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_POLL", "_LOOK", "_NO_PLACE"):
        monkeypatch.setattr(samples, name, timedelta(seconds=0.02))
    vendors.replicate.set_faults(list_refusal=405)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    sample = request_sample(author=AuthorFactory.create(), prompt="A fox", actor="maria")
    drain = worker()
    drain.until(lambda: vendors.listings() >= 2)
    sample.refresh_from_db()
    assert sample.status == "calling"
    until_ended(vendors)
    vendors.replicate.set_faults(list_refusal=0, data_removed=True)
    drain.until(PromptSample.objects.filter(pk=sample.pk, status="failed").exists)
    sample.refresh_from_db()
    assert sample.cost_usd is not None
    assert sample.cost_usd == spent_today()
    assert vendors.predictions[0].id in sample.error
    assert vendors.paid == vendors.creations() == 1


def shown_to_operators(admin_client: Client) -> list[str]:
    """Return the dashboard, and what `pipeline_status` says with its status for trouble."""
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        owner="a", host="a", main_pid=1, pid=2, stage="generation", started_at=now, beat_at=now
    )
    said = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("pipeline_status", stdout=said)
    assert ended.value.code == 2
    dashboard = admin_client.get("/admin/dashboard/").content.decode()
    return [html.unescape(dashboard), said.getvalue()]


def page_of(token: Token, admin_client: Client) -> str:
    page = admin_client.get(f"/admin/tokens/token/{token.pk}/change/")
    return html.unescape(page.content.decode())


def test_one_prediction_finds_out_that_the_listing_may_be_read_again(
    worker: Start, vendors: Vendors
) -> None:
    """Else it would be told as refused for as long as few are under way."""
    Breaker("replicate_listing").failed(AccountError("replicate: refused", vendor="replicate"))
    TokenFactory.create(prompt="never-ending")
    row = SystemState.objects.filter(pk="breaker:replicate_listing")
    worker().until(lambda: row.get().state_value["state"] == "closed")


def test_a_look_at_what_is_still_in_time_has_its_place_beside_what_is_overdue(
    settings: Settings,
) -> None:
    """The time of a prediction runs from the answer to its call, if that is known."""
    settings.GENERATION_TIMEOUT_SECONDS = 60
    now = timezone.now()
    longer = now - timedelta(seconds=61)
    for number, submitted_at in enumerate((None, longer, longer, now)):
        ImageGenerationJob.objects.create(
            token=TokenFactory.create(status="generating"),
            input={},
            attempt_number=1,
            service=JobService.REPLICATE,
            status=JobStatus.SUBMITTED,
            external_id=f"x{number}",
            submitted_at=submitted_at,
        )
    ImageGenerationJob.objects.update(created_at=now - timedelta(hours=1))
    free = SimpleNamespace(places=lambda wanted: wanted, is_open=False)
    step: Any = SimpleNamespace(replicate=SimpleNamespace(reads=free, listing=free))
    *overdue, rest = Poll.claim(step, 3)
    assert [(look.overdue, len(look.jobs)) for look in overdue] == [(True, 1)] * 2
    assert (rest.overdue, [job.external_id for job in rest.jobs]) == (False, ["x3"])
    assert step.has_put_off  # the third has its turn later
