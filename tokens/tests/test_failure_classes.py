"""Each class of failure as it comes over the wire: what is paid, what is logged, what is said."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from glisk.tests.clients.scripted_server import ScriptedServer, answer
from sandbox.node import free_port
from sandbox.replicate import faults as emulated
from sandbox.replicate.pictures import Pictures
from tokens.factories import TokenFactory
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.models.job import JobStatus
from tokens.pipeline.drain import GenerationDrain, UploadDrain
from tokens.states import TokenStatus
from tokens.tests.stage import CREATE, Start, Vendors, Worker, is_failed, is_ready

pytestmark = pytest.mark.django_db

# Every refusal that has been seen, word by word.
REFUSALS = [
    "All generated images contained NSFW content. Try running it again with a different prompt.",
    "NSFW content detected. Try running it again, or try a different prompt.",
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005) "
    "(uIJ6l3ruRD)",
]


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


def picture(mode: str, colour: Any, side: int = 96) -> bytes:
    data = io.BytesIO()
    Image.new(mode, (side, side), colour).save(data, "PNG")
    return data.getvalue()


def failure_of(token: Token) -> tuple[str, str]:
    """Return class and message of a failed token, after a look at the message."""
    token.refresh_from_db()
    assert token.status == TokenStatus.FAILED
    message = token.generation_error or ""
    assert re.search(r"\b(retry|regenerate)\b", message), f"it does not say what to do: {message}"
    return token.error_class, message


# -- content policy ---------------------------------------------------------------------


@pytest.mark.parametrize("text", REFUSALS)
def test_every_known_refusal_uses_the_fallback_prompt_once(
    worker: Start, vendors: Vendors, settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(emulated, "NSFW_ERROR", text)
    token = TokenFactory.create(prompt="a nude by the sea")
    drain = worker()
    with structlog.testing.capture_logs() as logs:
        drain.until(is_ready(token))
    sent = [p.input["prompt"] for p in vendors.predictions]
    assert sent == ["a nude by the sea", settings.FALLBACK_CENSORED_PROMPT]
    (event,) = [entry for entry in logs if entry["event"] == "prompt_censored"]
    assert (event["token_id"], event["prompt"]) == (token.pk, "a nude by the sea")
    marked = TokenTransition.objects.get(token=token, detail__censored=True)
    assert marked.detail["original_prompt"] == "a nude by the sea"
    assert text[:40] in marked.reason
    token.refresh_from_db()
    assert (token.prompt, token.fallback_used) == ("a nude by the sea", True)


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("RGB", "black"), ("RGB", "white"), ("RGBA", (9, 80, 200, 0)), ("L", 128)],
    ids=["black", "white", "transparent", "grey"],
)
def test_a_blank_image_is_a_refusal_and_never_a_tokens_image(
    worker: Start,
    vendors: Vendors,
    serve_instead: Callable[[bytes], None],
    mode: str,
    colour: object,
) -> None:
    serve_instead(picture(mode, colour))
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "content_policy"
    assert "blank" in message
    assert "FALLBACK_CENSORED_PROMPT" in message
    assert vendors.paid == 2  # the prompt, and the fallback once
    assert not vendors.pinata.pins


def test_a_prompt_refused_by_the_api_itself_costs_nothing(
    worker: Start, vendors: Vendors, settings: Settings, server: ScriptedServer
) -> None:
    body = {"title": "Input validation failed", "detail": REFUSALS[2], "status": 422}
    server.script(answer(422, body), answer(422, body))
    settings.REPLICATE_BASE_URL = server.url
    token = TokenFactory.create(prompt="a nude by the sea")
    worker().until(is_failed(token))
    assert failure_of(token)[0] == "content_policy"
    prompts = [request.json["input"]["prompt"] for request in server.requests]
    assert prompts == ["a nude by the sea", settings.FALLBACK_CENSORED_PROMPT]
    rows = ImageGenerationJob.objects.values_list("status", "cost_usd")
    assert list(rows) == [(JobStatus.REJECTED, None)] * 2


# -- permanent --------------------------------------------------------------------------


def test_a_refused_input_fails_at_once(
    worker: Start, vendors: Vendors, settings: Settings, server: ScriptedServer
) -> None:
    detail = "- input.seed: Invalid type. Expected: integer, given: null\n"
    server.script(answer(422, {"detail": detail, "title": "Input validation failed"}))
    settings.REPLICATE_BASE_URL = server.url
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "validation"
    assert "input.seed" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("prompt", ["", "x" * 1001])
def test_a_senseless_prompt_says_what_to_do(worker: Start, vendors: Vendors, prompt: str) -> None:
    token = TokenFactory.create(prompt=prompt)
    worker().until(is_failed(token))
    assert failure_of(token)[0] == "validation"
    assert vendors.creations() == 0


@pytest.mark.parametrize("side", [32, 4100])
def test_a_size_that_no_other_image_would_mend_is_paid_for_once(
    worker: Start, vendors: Vendors, serve_instead: Callable[[bytes], None], side: int
) -> None:
    serve_instead(picture("1", 1, side))
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "artefact"
    assert f"{side} x {side}" in message
    assert vendors.paid == 1


def test_a_file_over_the_limit_is_paid_for_once(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.IMAGE_MAX_BYTES = 100
    token = TokenFactory.create()
    worker().until(is_failed(token))
    assert "limit of 100 bytes" in failure_of(token)[1]
    assert vendors.paid == 1


# -- transient --------------------------------------------------------------------------


@pytest.mark.parametrize(("tried", "wait"), [(1, 1.0), (2, 2.0), (3, 4.0)])
def test_attempts_wait_1_2_4_seconds_with_jitter(
    vendors: Vendors, settings: Settings, tried: int, wait: float
) -> None:
    settings.GENERATION_MAX_ATTEMPTS = 4
    vendors.replicate.plan_fault("server_error", scope=CREATE)
    token = TokenFactory.create(generation_attempts=tried - 1)
    drain = Worker(GenerationDrain(), UploadDrain())
    try:
        drain.until(lambda: Token.objects.filter(next_attempt_at__isnull=False).exists())
    finally:
        drain.crash()
    token.refresh_from_db()
    noted = TokenTransition.objects.filter(token=token).latest("pk").created_at
    assert token.next_attempt_at is not None
    assert 0.8 * wait <= (token.next_attempt_at - noted).total_seconds() + 0.05
    assert (token.next_attempt_at - timezone.now()).total_seconds() <= wait


def test_the_third_attempt_is_the_last(worker: Start, vendors: Vendors) -> None:
    vendors.replicate.plan_fault("server_error", times=9, scope=CREATE)
    # Others succeed in between, or the vendor would count as down, and nothing as an attempt.
    token = TokenFactory.create(generation_attempts=2)
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "transient"
    assert "Given up after 3 attempts" in message
    assert vendors.paid == 0


# -- damaged files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<!DOCTYPE html><html><body>502</body></html>", "begin with b'<!DOCTYPE"),
        (b"", "no bytes"),
        (picture("RGB", "teal")[:-30], "truncated|end of the file"),
        (b"%PDF-1.7\n", "begin with"),
        (b'{"detail":"not found"}', "begin with"),
    ],
    ids=["html", "empty", "truncated", "pdf", "json"],
)
def test_what_is_no_image_is_refused_with_a_reason_and_nothing_is_pinned(
    worker: Start,
    vendors: Vendors,
    serve_instead: Callable[[bytes], None],
    data: bytes,
    why: str,
) -> None:
    """Whatever the content type says: the emulator calls all of it image/webp."""
    serve_instead(data)
    token = TokenFactory.create()
    worker().until(is_failed(token))
    error_class, message = failure_of(token)
    assert error_class == "artefact"
    assert re.search(why, message), message
    assert vendors.paid == 3
    assert not vendors.pinata.calls
    assert (token.image_cid, token.metadata_text) == (None, None)


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


def test_another_cid_raises_an_alarm(worker: Start, vendors: Vendors) -> None:
    vendors.pinata.set_faults(wrong_cid_rate=1.0)
    token = TokenFactory.create()
    drain = worker()
    with structlog.testing.capture_logs() as logs:
        drain.until(is_failed(token))
    assert failure_of(token)[0] == "cid_mismatch"
    (alarm,) = [entry for entry in logs if entry["event"] == "cid_mismatch"]
    assert alarm["log_level"] == "critical"
    assert alarm["token_id"] == token.pk


def test_an_upload_waits_for_pinata_without_limit(
    worker: Start, vendors: Vendors, settings: Settings
) -> None:
    settings.PINATA_API_URL = f"http://127.0.0.1:{free_port()}"
    token = TokenFactory.create()
    drain = worker()
    drain.until(lambda: IPFSUploadRecord.objects.count() >= 20)
    token.refresh_from_db()
    assert token.status == TokenStatus.UPLOADING
