"""What each failure of the vendor means for a token: wait, try again, another prompt, or fail."""

import io
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from PIL import Image
from pytest_django import Settings

from glisk.errors import ContentPolicyError, TransientError
from glisk.models import SystemState
from glisk.tests.clients.scripted_server import ScriptedServer, answer
from glisk.timing import timing
from sandbox.node import free_port
from sandbox.paint.painter import Pictures
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.models.job import JobService, JobStatus
from tokens.pipeline.failures import Failure, settle_failures
from tokens.pipeline.jobs import create_jobs, record_prediction
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import (
    CREATE,
    Start,
    Vendors,
    breaker,
    is_failed,
    is_open,
    is_ready,
    until_ended,
)
from tokens.transitions.claims import claim_for_generation

pytestmark = pytest.mark.django_db


def submitted() -> bool:
    return ImageGenerationJob.objects.filter(status="submitted").exists()


def timeline(token: Token) -> list[tuple[str, str]]:
    return list(TokenTransition.objects.filter(token=token).values_list("from_status", "to_status"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


@pytest.fixture
def serve_instead(vendors: Vendors, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Let every prediction's file be these bytes."""

    def set_bytes(data: bytes) -> None:
        monkeypatch.setattr(Pictures, "content", lambda self, file: data)

    return set_bytes


def picture(side: int) -> bytes:
    data = io.BytesIO()
    Image.new("1", (side, side), 1).save(data, "PNG")
    return data.getvalue()


def failure_of(token: Token) -> tuple[str, str]:
    """Return class and message of a failed token, after a look at the message."""
    token.refresh_from_db()
    assert token.status == TokenStatus.FAILED
    message = token.generation_error or ""
    assert re.search(r"\b(retry|regenerate)\b", message), f"it does not say what to do: {message}"
    return token.error_class, message


# -- the vendor is not well ---------------------------------------------------------------


def test_while_the_vendor_is_down_tokens_wait_and_go_on_by_themselves(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.REPLICATE_BASE_URL = f"http://127.0.0.1:{free_port()}"
    tokens = TokenFactory.create_batch(4)
    first = worker()
    first.until(is_open)
    first.settle(1.0)
    assert not Token.objects.filter(status=TokenStatus.FAILED).exists()
    assert "did not reach the vendor" in breaker("replicate")["reason"]
    # The first failures, before it was clear that the vendor is down, are counted; no others.
    assert sum(len(t.error_log) for t in Token.objects.all()) <= 2
    first.stop()
    settings.REPLICATE_BASE_URL = vendors.replicate.url
    worker().until(is_ready(*tokens))
    assert vendors.paid == 4
    assert not is_open()


def test_an_outage_does_not_make_turn_follow_turn(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that are due, while the breaker is open, are no reason to look again at once."""
    monkeypatch.setattr(timing, "account_wait", 3600.0)
    monkeypatch.setattr(timing, "breaker_recheck", 5.0)
    vendors.replicate.set_faults(account_refusal="insufficient_credit")
    TokenFactory.create_batch(3)
    drain = worker()
    drain.until(is_open)
    drain.settle(0.2)
    assert drain.tick is not None
    assert drain.tick > 1.0


def test_server_errors_are_tried_again_and_counted(worker: Start, vendors: Vendors) -> None:
    vendors.replicate.plan_fault("server_error", times=2, scope=CREATE)
    token = TokenFactory.create()
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert token.generation_attempts == 3
    assert [entry["error_class"] for entry in token.error_log] == ["transient", "transient"]
    assert timeline(token).count(("generating", "generating")) == 2
    assert vendors.paid == 1


def test_an_attempt_waits_for_its_backoff() -> None:
    token = TokenFactory.create(generation_attempts=1)
    (claim,) = claim_for_generation(owner="w", limit=1)
    job = create_jobs([(claim, JobService.REPLICATE)], look_in=0)[token.pk]
    error = TransientError("HTTP 503", vendor="replicate")
    settle_failures([Failure(claim, job, error, JobStatus.REJECTED)], owner="w")
    token.refresh_from_db()
    noted = TokenTransition.objects.filter(token=token).latest("pk").created_at
    assert token.next_attempt_at is not None
    assert 1.55 <= (token.next_attempt_at - noted).total_seconds() <= 2.0


def test_a_prediction_that_crashes_is_tried_again_and_given_up_after_three(
    worker: Start, vendors: Vendors
) -> None:
    token = TokenFactory.create(prompt="please crash-the-model now")
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert (error_class, vendors.paid) == ("transient", 3)
    assert "Given up after 3 attempts" in message
    numbers = ImageGenerationJob.objects.order_by("pk").values_list("attempt_number", flat=True)
    assert list(numbers) == [1, 2, 3]


def test_a_refused_account_pauses_the_stage_and_fails_no_token(
    worker: Start, vendors: Vendors
) -> None:
    vendors.replicate.set_faults(account_refusal="spend_limit")
    tokens = TokenFactory.create_batch(3)
    drain = worker()
    started = time.monotonic()
    drain.until(is_open)
    drain.until(lambda: vendors.creations() > 3)
    drain.settle(0.5)
    probes = vendors.creations() - 3  # the first ones together, then one at a time
    assert 1 <= probes <= (time.monotonic() - started) / 0.3 + 1
    drain.until(lambda: drain.drain.in_flight == 0)  # a probe under way counts as an attempt
    for token in Token.objects.all():
        assert (token.status, token.generation_attempts) == (TokenStatus.GENERATING, 0)
        assert token.error_class == "account"
        assert token.error_log == []
    vendors.replicate.set_faults(account_refusal="")
    drain.until(is_ready(*tokens))
    assert vendors.paid == 3


@pytest.mark.parametrize("known", [True, False], ids=["succeeded", "submitted"])
def test_what_is_paid_for_is_finished_while_the_account_is_refused(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Tokens that need no new prediction use up none of the rare probes."""
    monkeypatch.setattr(timing, "probe_window", 3600.0)
    tokens = TokenFactory.create_batch(3)
    first = worker()
    first.until(lambda: ImageGenerationJob.objects.exclude(external_id=None).count() == 3)
    first.stop()
    until_ended(vendors)
    client = first.drain.services.replicate.client
    for prediction in vendors.predictions if known else []:
        record_prediction(client.get_prediction(prediction.id))
    vendors.replicate.set_faults(account_refusal="insufficient_credit")
    value = {"state": "open", "retry_at": "2026-01-01T00:00:00+00:00", "reason": "No credit."}
    SystemState.objects.create(state_key="breaker:replicate", state_value=value)
    worker().until(is_ready(*tokens))
    assert vendors.paid == 3


def test_one_unreadable_prediction_keeps_nobody_waiting(worker: Start, vendors: Vendors) -> None:
    poison = TokenFactory.create(prompt="a never-ending story")
    drain = worker()
    drain.until(submitted)
    external_id = ImageGenerationJob.objects.get(token=poison).external_id
    vendors.replicate.plan_fault("server_error", times=10_000, scope=f"GET .*/{external_id}")
    token = TokenFactory.create()
    drain.until(is_ready(token))


# -- the prediction does not end ------------------------------------------------------------


def test_what_takes_too_long_is_canceled_and_tried_again(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.GENERATION_TIMEOUT_SECONDS = 0.3
    settings.GENERATION_MAX_ATTEMPTS = 2
    token = TokenFactory.create(prompt="a never-ending story")
    worker().until(is_failed(token))
    assert [p.status for p in vendors.predictions] == ["canceled", "canceled"]
    assert vendors.paid == 2


def test_a_cancel_without_effect_is_not_repeated_at_once(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.GENERATION_TIMEOUT_SECONDS = 0.2
    vendors.replicate.plan_fault("server_error", times=1000, scope="/cancel$")
    TokenFactory.create(prompt="a never-ending story")
    drain = worker()

    def cancels() -> int:
        return sum(call.path.endswith("/cancel") for call in vendors.replicate.calls)

    drain.until(cancels)
    before = cancels()
    drain.settle(0.8)
    assert cancels() - before <= 5


def test_a_prediction_that_the_vendor_forgot_is_made_again(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = TokenFactory.create()
    drain = worker()
    with monkeypatch.context() as patch:  # it is forgotten before anybody asks for it
        patch.setattr(timing, "poll", 3600.0)
        drain.until(submitted)
        vendors.replicate.reset(state=True)
    ImageGenerationJob.objects.update(look_at=None)
    drain.until(is_ready(token))
    statuses = ImageGenerationJob.objects.order_by("pk").values_list("status", flat=True)
    assert list(statuses) == [JobStatus.FAILED, JobStatus.CAPTURED]


# -- the prompt or the picture --------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "faults"),
    [
        ("nsfw", {}),
        ("garbage-black", {}),
        ("gore", {"refusal_text": "It involves sensitive content", "refusal_in_logs": True}),
    ],
)
def test_a_refused_prompt_is_replaced_once(
    worker: Start, vendors: Vendors, settings: Settings, word: str, faults: dict[str, Any]
) -> None:
    """Whatever words a refusal has and wherever it stands."""
    vendors.replicate.set_faults(**faults)
    token = TokenFactory.create(prompt=f"a {word} picture")
    drain = worker()
    with structlog.testing.capture_logs() as logs:
        drain.until(is_ready(token))
    (told,) = [entry for entry in logs if entry["event"] == "prompt_censored"]
    assert (told["token_id"], told["prompt"]) == (token.pk, f"a {word} picture")
    token.refresh_from_db()
    assert token.fallback_used
    assert token.prompt == f"a {word} picture"
    prompts = [p.input["prompt"] for p in vendors.predictions]
    assert prompts == [f"a {word} picture", settings.FALLBACK_CENSORED_PROMPT]
    noted = TokenTransition.objects.get(token=token, detail__censored=True)
    assert noted.detail["original_prompt"] == f"a {word} picture"
    assert "fallback prompt is used instead" in noted.reason


def test_a_refused_fallback_fails_the_token(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.FALLBACK_CENSORED_PROMPT = "also garbage-black"
    token = TokenFactory.create(prompt="a nude")
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert (error_class, vendors.paid) == ("content_policy", 2)
    assert "fallback prompt was refused too" in message
    assert not vendors.pinata.pins


@pytest.mark.parametrize(
    ("detail", "error_class", "calls"),
    [
        ("flagged as sensitive. (E005)", "content_policy", 2),
        ("- input.seed: Invalid type. Expected: integer", "validation", 1),
    ],
)
def test_what_the_api_itself_refuses_costs_nothing(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    server: ScriptedServer,
    detail: str,
    error_class: str,
    calls: int,
) -> None:
    body = {"title": "Input validation failed", "detail": detail, "status": 422}
    server.script(answer(422, body), answer(422, body))
    settings.REPLICATE_BASE_URL = server.url
    token = TokenFactory.create(prompt="a nude by the sea")
    worker().until(is_failed(token))
    assert failure_of(token)[0] == error_class
    prompts = [request.json["input"]["prompt"] for request in server.requests]
    assert prompts == ["a nude by the sea", settings.FALLBACK_CENSORED_PROMPT][:calls]
    rows = ImageGenerationJob.objects.values_list("status", "cost_usd")
    assert list(rows) == [(JobStatus.REJECTED, None)] * calls


@pytest.mark.parametrize(
    ("side", "why"), [(32, "32 x 32"), (4100, "4100 x 4100"), (None, "limit of 100 bytes")]
)
def test_a_size_that_no_other_image_would_mend_is_paid_for_once(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    serve_instead: Callable[[bytes], None],
    side: int | None,
    why: str,
) -> None:
    if side is None:
        settings.IMAGE_MAX_BYTES = 100
    else:
        serve_instead(picture(side))
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "artefact"
    assert why in message
    assert vendors.paid == 1


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("", "is empty"), (" \n\t", "is empty"), ("x" * 1001, "has 1001 characters")],
)
def test_a_senseless_prompt_fails_without_a_call(
    worker: Start, vendors: Vendors, prompt: str, reason: str
) -> None:
    bad = TokenFactory.create(prompt=prompt)
    good = TokenFactory.create(prompt="x" * 1000)
    worker().until(is_ready(good))
    bad.refresh_from_db()
    assert bad.status == TokenStatus.FAILED
    assert reason in (bad.generation_error or "")
    assert not ImageGenerationJob.objects.filter(token=bad).exists()
    assert vendors.paid == 1


@pytest.mark.parametrize(("vendor_keeps_it_seconds", "paid"), [(3600.0, 1), (0.0, 2)])
def test_a_download_that_fails_does_not_pay_again_while_the_vendor_keeps_the_file(
    worker: Start,
    vendors: Vendors,
    monkeypatch: pytest.MonkeyPatch,
    vendor_keeps_it_seconds: float,
    paid: int,
) -> None:
    monkeypatch.setattr("tokens.pipeline.jobs.OUTPUT_LIFETIME_SECONDS", vendor_keeps_it_seconds)
    vendors.replicate.plan_fault("server_error", scope="GET /delivery/")
    token = TokenFactory.create()
    worker().until(is_ready(token))
    token.refresh_from_db()
    assert (vendors.paid, token.generation_attempts) == (paid, paid)


# -- storage ----------------------------------------------------------------------------


def test_a_file_that_pinata_refuses_fails_with_its_bytes_kept(
    worker: Start, vendors: Vendors, settings: Settings, server: ScriptedServer
) -> None:
    refusal = answer(400, {"error": {"reason": "BAD_REQUEST", "details": "too many keyvalues"}})
    server.script(*[refusal] * 4)
    settings.PINATA_API_URL = server.url
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "validation"
    assert "too many keyvalues" in message
    assert "the files are kept" in message
    assert token.image.data is not None
    assert set(IPFSUploadRecord.objects.values_list("status", flat=True)) == {"failed"}


def test_an_upload_waits_for_pinata_without_limit(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.PINATA_API_URL = f"http://127.0.0.1:{free_port()}"
    token = TokenFactory.create()
    drain = worker()
    drain.until(lambda: IPFSUploadRecord.objects.count() >= 8)
    token.refresh_from_db()
    assert token.status == TokenStatus.UPLOADING


# -- what is delivered twice ---------------------------------------------------------------


def test_an_old_refusal_says_nothing_of_the_call_that_follows_it(
    worker: Start, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same turn settles a refusal and makes the next call, then loses the database."""
    token = TokenFactory.create(prompt="a nude")
    drain = worker()
    drain.step()
    (accepted,) = drain.finished()
    error = ContentPolicyError("refused", vendor="replicate")
    refusal = type(accepted)("order", accepted.key, error=error)
    drain.drain.turn([refusal])
    assert drain.drain.in_flight == 1  # the fallback prompt's call
    drain.drain.turn([refusal])
    drain.until(is_ready(token))
    open_jobs = ImageGenerationJob.objects.values_list("status", flat=True).order_by("pk")
    assert list(open_jobs) == [JobStatus.REJECTED, JobStatus.CAPTURED]
