"""From a mint to stored image bytes: paid once, completed by whoever hears first."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connections
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from glisk.cid import compute_cid
from glisk.tests.database import database_url
from glisk.timing import timing
from tokens.models import ImageGenerationJob, TokenTransition
from tokens.models.job import JobStatus
from tokens.pipeline.image_vendors import ImageService, callback_url
from tokens.pipeline.jobs import record_prediction
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import (
    Start,
    Vendors,
    ended,
    is_ready,
    job_of,
    status,
)

pytestmark = pytest.mark.django_db


@pytest.mark.fast
def test_a_mint_becomes_a_ready_token_with_one_prediction(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create(prompt="a fox in the snow")
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert (vendors.paid, vendors.predictions[0].webhook) == (1, "")
    job = job_of(token)
    assert (job.status, job.attempt_number) == (JobStatus.CAPTURED, 1)
    assert job.external_id == vendors.predictions[0].id
    assert job.input["prompt"] == job.prompt == "a fox in the snow"
    assert float(job.cost_usd or 0) == django_settings.GENERATION_COST_USD
    data = bytes(token.image.data or b"")
    assert compute_cid(data, version=1) == token.image_cid
    assert sha256(data).hexdigest() == token.image.sha256
    assert token.lease_owner is None
    moves = TokenTransition.objects.filter(token=token).values_list("from_status", "to_status")
    assert list(moves) == [
        ("detected", "generating"),
        ("generating", "uploading"),
        ("uploading", "ready"),
    ]


def test_the_oldest_mint_comes_first(worker: Start, vendors: Vendors, settings: Settings) -> None:
    settings.WORKER_BATCH_SIZE = 1
    newer = TokenFactory.create(prompt="newer", mint_timestamp="2026-01-01T00:00:02Z")
    older = TokenFactory.create(prompt="older", mint_timestamp="2026-01-01T00:00:01Z")
    worker().until(is_ready(newer, older))
    assert [p.input["prompt"] for p in vendors.predictions] == ["older", "newer"]


@pytest.mark.django_db(transaction=True)
def test_the_job_row_is_committed_before_the_call(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = TokenFactory.create()
    seen: list[tuple[str, int]] = []
    address = database_url()

    create = ImageService.create_prediction

    def look_first(*given: Any, **options: Any) -> Any:
        with psycopg.connect(address) as session:
            seen.extend(session.execute("SELECT status, token_id FROM image_generation_jobs"))
        assert vendors.creations() == 0
        return create(*given, **options)

    monkeypatch.setattr(ImageService, "create_prediction", look_first)
    worker().until(is_ready(token))
    assert seen == [("created", token.token_id)]


def test_many_predictions_are_polled_with_few_requests(worker: Start, vendors: Vendors) -> None:
    TokenFactory.create_batch(8, prompt="a never-ending story")
    drain = worker()
    drain.until(lambda: ImageGenerationJob.objects.filter(status="submitted").count() == 8)

    def polls() -> list[str]:
        return [call.path for call in vendors.replicate.calls if call.method == "GET"]

    # While only some of them were there, they were read one by one.
    drain.until(lambda: "/v1/predictions" in polls())
    before = len(polls())
    drain.until(lambda: len(polls()) >= before + 3)
    assert set(polls()[before:]) == {"/v1/predictions"}


@pytest.mark.django_db(transaction=True)
def test_the_vendors_webhook_completes_a_prediction(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    live_server: LiveServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.PUBLIC_BASE_URL = live_server.url
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    monkeypatch.setattr(timing, "poll_with_callback", 3600.0)
    token = TokenFactory.create()
    drain = worker()
    drain.until(is_ready(token))
    drain.until(lambda: vendors.replicate.deliveries)  # its answer may come later than its effect
    job = job_of(token)
    assert vendors.predictions[0].webhook == f"{live_server.url}/webhooks/replicate?job={job.pk}"
    assert [d.status for d in vendors.replicate.deliveries] == [200]
    reads = [call.path for call in vendors.replicate.calls if call.method == "GET"]
    assert [path for path in reads if path.startswith("/v1/")] == []


def test_a_webhook_that_is_faster_than_the_reply(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    created = drain.finished()
    prediction = ended(vendors, drain)
    assert record_prediction(prediction, job_id=job_of(token).pk) == "recorded"
    assert job_of(token).external_id == prediction.id
    drain.drain.turn(created)
    drain.until(is_ready(token))
    assert vendors.paid == 1
    assert ImageGenerationJob.objects.count() == 1


def test_duplicates_in_any_order_change_nothing(worker: Start, vendors: Vendors) -> None:
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    created = drain.finished()
    prediction = ended(vendors, drain)
    job_id = job_of(token).pk
    running = replace(prediction, status="processing", output_urls=())
    assert record_prediction(running, job_id=job_id) == "running"
    assert record_prediction(prediction, job_id=job_id) == "recorded"
    stored = ImageGenerationJob.objects.values().get()
    for again in (prediction, running, replace(prediction, status="failed", error="late")):
        assert record_prediction(again, job_id=job_id) == "duplicate"
        assert record_prediction(again) == "duplicate"
    assert ImageGenerationJob.objects.values().get() == stored
    drain.drain.turn(created)
    drain.until(is_ready(token))
    assert record_prediction(prediction) == "duplicate"
    assert status(token) == TokenStatus.READY


def test_a_callback_about_another_call_is_not_taken_for_ours(
    worker: Start, vendors: Vendors
) -> None:
    """Only the seed tells; the job's number in the callback's query is not signed."""
    token = TokenFactory.create()
    drain = worker()
    drain.step()
    drain.finished()
    foreign = replace(ended(vendors, drain), id="f" * 26, input={"prompt": "x", "seed": 1})
    assert record_prediction(foreign, job_id=job_of(token).pk) == "unknown"
    assert job_of(token).external_id is None
    assert record_prediction(replace(foreign, id="g" * 26), job_id=10**9) == "unknown"


def test_the_callback_names_the_job_only_if_it_can_be_checked(settings: Settings) -> None:
    job = ImageGenerationJob(pk=7)
    settings.PUBLIC_BASE_URL = "https://glisk.example"
    assert callback_url(job) == "https://glisk.example/webhooks/replicate?job=7"
    settings.REPLICATE_WEBHOOK_SECRETS = []
    assert callback_url(job) is None
