"""Every prediction's cost is known, and no day costs more than its cap."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from glisk.tests.waiting import at_once
from glisk.timing import timing
from tokens import totals
from tokens.models import DailySpend, ImageGenerationJob, Token
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import image_vendors, jobs
from tokens.pipeline.jobs import Price
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import CREATE, Start, Vendors, is_ready, job_of
from tokens.transitions.claims import Claim

pytestmark = pytest.mark.django_db
USD = Decimal


def add_job(cost: str | None = "0.003", *, days_ago: float = 0, model: str = "a/b") -> None:
    job = ImageGenerationJob.objects.create(
        token_id=1,
        prompt="p",
        input={},
        service="replicate",
        model=model,
        attempt_number=1,
        status=JobStatus.FAILED,
        cost_usd=cost,
    )
    made = datetime.now(UTC) - timedelta(days=days_ago)
    ImageGenerationJob.objects.filter(pk=job.pk).update(created_at=made)


# -- prices -------------------------------------------------------------------------------


def test_a_price_is_by_image_or_by_second() -> None:
    by_image, by_second = Price.parse("0.003"), Price.parse("0.000725/s")
    assert by_image.of(12.0) == by_image.of(None) == by_image.reserved == USD("0.003")
    assert by_second.reserved == USD("0.00725")
    assert by_second.of(2.0) == USD("0.00145")
    assert by_second.of(None) == by_second.reserved


def test_the_ledger_equals_the_vendors_bill(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.REPLICATE_PRICES = {"black-forest-labs/flux-schnell": "0.003"}
    settings.GENERATION_COST_USD = 99
    vendors.replicate.plan_fault("server_error", scope=CREATE)
    vendors.replicate.plan_fault("drop_after", scope=CREATE)
    vendors.replicate.plan_fault("drop_before", scope=CREATE)
    tokens = [*TokenFactory.create_batch(3), TokenFactory.create(prompt="a nude")]
    worker().until(is_ready(*tokens))
    assert vendors.paid == 5
    assert float(image_vendors.spent_today()) == vendors.replicate.bill.total_usd == 0.015
    refused = ImageGenerationJob.objects.filter(status=JobStatus.REJECTED)
    assert refused.exists()
    assert not refused.exclude(cost_usd=None).exists()


def test_a_model_paid_by_time_costs_its_time(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.REPLICATE_PRICES = {"black-forest-labs/flux-schnell": "0.01/s"}
    token = TokenFactory.create()
    worker().until(is_ready(token))
    job = job_of(token)
    assert job.predict_time_seconds
    assert float(job.cost_usd or 0) == pytest.approx(job.predict_time_seconds * 0.01, abs=1e-6)


# -- sums ---------------------------------------------------------------------------------


def test_the_sums_are_of_whole_days_by_model() -> None:
    for days_ago in (0, 6, 7, 29, 30, 400):
        add_job(days_ago=days_ago)
    add_job("0.025", model="c/d")
    add_job(None)
    for _ in range(2):
        spend = totals.spend_totals()
        first, second = spend.lines
        assert (first.model, first.predictions) == ("a/b", 6)
        sums = (first.today_usd, first.seven_days_usd, first.thirty_days_usd, first.all_time_usd)
        assert sums == tuple(USD("0.003") * n for n in (1, 2, 4, 6))
        assert second.today_usd == second.all_time_usd == USD("0.025")
        assert spend.today_usd == USD("0.028")
        assert spend.all_time_usd == USD("0.043")
        totals.close_days()  # changes no sum


def test_old_days_are_closed_once_and_read_from_their_sums() -> None:
    for days_ago in (1, 2, 3, 3, 10):
        add_job(days_ago=days_ago)
    assert totals.close_days() == 2
    assert totals.close_days() == 0
    assert sorted(DailySpend.objects.values_list("predictions", flat=True)) == [1, 2]
    ImageGenerationJob.objects.filter(
        created_at__lt=datetime.now(UTC) - timedelta(days=2.999)
    ).delete()
    assert totals.spend_totals().lines[0].predictions == 5


@pytest.mark.plans
def test_a_million_jobs_are_summed_by_the_index(settings: Settings) -> None:
    """A smaller table with the same shape: the plan is what counts."""
    settings.DAILY_SPEND_CAP_USD = 1
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO image_generation_jobs (token_id, prompt, input, service, model, "
            "attempt_number, status, cost_usd, error_class, error, created_at) "
            "SELECT i, 'p', '{}', 'replicate', 'a/b', 1, 'failed', 0.003, '', '', "
            "now() - i * interval '1 minute' FROM generate_series(1, 20000) AS i"
        )
        cursor.execute("ANALYZE image_generation_jobs")
    totals.close_days()
    with CaptureQueriesContext(connection) as captured:
        totals.spend_totals()
        image_vendors.allowed_by_cap(1, Price(USD("0.003")))
    sums = [q["sql"] for q in captured if "sum(cost_usd)" in q["sql"].lower()]
    assert len(sums) == 2
    for sql in sums:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}")
            plan = " ".join(row[0] for row in cursor.fetchall())
        assert "generation_job_spend" in plan
        assert "Seq Scan on image_generation_jobs" not in plan


# -- the cap ------------------------------------------------------------------------------


def test_the_cap_pauses_before_the_call_that_would_exceed_it(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.01  # three predictions
    add_job("100", days_ago=1)
    tokens = TokenFactory.create_batch(5)
    drain = worker()
    drain.until(lambda: Token.objects.filter(status=TokenStatus.READY).count() == 3)
    drain.settle(0.3)
    assert vendors.creations() == vendors.paid == 3
    assert "0.009 USD are spent today" in image_vendors.cap_reason()
    waiting = Token.objects.exclude(status=TokenStatus.READY)
    assert {(t.generation_attempts, t.attempts, t.lease_owner) for t in waiting} == {(0, 0, None)}
    assert drain.tick is not None
    assert drain.tick > 1
    drain.stop()
    settings.DAILY_SPEND_CAP_USD = 0.015
    worker().until(is_ready(*tokens))
    assert image_vendors.spent_today() == USD("0.015")


def test_the_last_cent_of_the_cap_is_spent(settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD, settings.GENERATION_COST_USD = 0.006, 0.003
    settings.REPLICATE_PRICES = {}
    add_job()
    with transaction.atomic():
        assert image_vendors.allowed_by_cap(2, Price(USD("0.003"))) == 1
    assert image_vendors.cap_reason() == ""
    add_job("0.000001")
    with transaction.atomic():
        assert image_vendors.allowed_by_cap(1, Price(USD("0.003"))) == 0
    assert "0.003001 USD are spent" in image_vendors.cap_reason()


def test_it_goes_on_by_itself_at_midnight(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.003
    tokens = TokenFactory.create_batch(2)
    drain = worker()
    monkeypatch.setattr(timing, "cap_recheck", 0.1)
    drain.until(lambda: Token.objects.filter(status=TokenStatus.READY).count() == 1)
    drain.settle(0.3)
    assert vendors.paid == 1
    ImageGenerationJob.objects.update(created_at=datetime.now(UTC) - timedelta(days=1))
    drain.until(is_ready(*tokens))


@pytest.mark.django_db(transaction=True)
def test_several_processes_together_keep_to_the_cap(settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD = 0.06

    def spend_it(number: int) -> int:
        made = 0
        for turn in range(5):
            with transaction.atomic():
                allowed = image_vendors.allowed_by_cap(3, Price(USD("0.003")))
                time.sleep(0.005)
                ids = [number * 100 + turn * 10 + n for n in range(allowed)]
                calls = [(Claim(pk, 1, 1, "p", 0, False), JobService.REPLICATE) for pk in ids]
                jobs.create_jobs(calls, look_in=0)
            made += allowed
        return made

    assert sum(at_once(3, spend_it)) == 20
    assert image_vendors.spent_today() == USD("0.06")


def test_without_a_cap_nothing_is_asked(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert image_vendors.allowed_by_cap(5, Price(USD(1))) == 5
        assert image_vendors.cap_reason() == ""


# -- the rate -----------------------------------------------------------------------------


def test_predictions_beyond_the_rate_wait_without_an_attempt(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.REPLICATE_PREDICTIONS_PER_MINUTE = 2
    TokenFactory.create_batch(5)
    first, second = worker(), worker()
    first.until(lambda: Token.objects.filter(status=TokenStatus.READY).count() == 2)
    first.until(lambda: (first.tick or 0) > 1)
    second.until(lambda: (second.tick or 0) > 1)
    assert vendors.creations() == 2
    waiting = Token.objects.exclude(status=TokenStatus.READY)
    assert {(t.generation_attempts, t.attempts, t.error_log == []) for t in waiting} == {
        (0, 0, True)
    }


def test_uploads_beyond_the_rate_wait_in_whole_tokens(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.PINATA_REQUESTS_PER_MINUTE = 5
    TokenFactory.create_batch(3)
    drain = worker()
    drain.until(lambda: Token.objects.filter(status=TokenStatus.READY).count() == 2)
    drain.until(lambda: Token.objects.filter(status=TokenStatus.UPLOADING).count() == 1)
    drain.settle(0.3)
    assert len([c for c in vendors.pinata.calls if c.method == "POST"]) == 4
