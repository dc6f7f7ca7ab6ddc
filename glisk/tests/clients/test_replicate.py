"""Predictions as they are asked for, read and listed, over sockets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.errors import (
    AccountError,
    ContentPolicyError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up, silence

TOKEN = "r8_test_0000000000000000000000000000000000"
MODEL = "black-forest-labs/flux-schnell"
VERSION = "c0ffee" * 10 + "beef"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"
START = datetime(2026, 2, 1, 9, tzinfo=UTC)


def prediction(**changes: Any) -> dict[str, Any]:
    """A prediction as the API shows it."""
    shown = {
        "id": ID,
        "model": MODEL,
        "version": "hidden",
        "input": {"prompt": "a cat"},
        "output": None,
        "logs": "",
        "error": None,
        "status": "starting",
        "data_removed": False,
        "created_at": "2026-02-01T10:00:00.123Z",
        "completed_at": None,
        "metrics": {},
    }
    return shown | changes


@pytest.fixture
def client(server: ScriptedServer, settings: Settings) -> ReplicateClient:
    settings.REPLICATE_API_TOKEN, settings.REPLICATE_MODEL_VERSION = TOKEN, MODEL
    settings.REPLICATE_BASE_URL = f"{server.url}/v1/"  # it may end in the API's version
    return ReplicateClient()


def refused(client: ReplicateClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.create_prediction(input={"prompt": "x"}, webhook_url=None)
    return caught.value


# -- asking for one -----------------------------------------------------------------------


@pytest.mark.usefixtures("client")
def test_the_models_form_decides_the_endpoint(server: ScriptedServer, settings: Settings) -> None:
    by_name = f"/v1/models/{MODEL}/predictions"
    for model, path, version in (
        (MODEL, by_name, {}),
        (f"{MODEL}:{VERSION}", "/v1/predictions", {"version": VERSION}),
        (VERSION, "/v1/predictions", {"version": VERSION}),
    ):
        server.script(answer(201, prediction()))
        settings.REPLICATE_MODEL_VERSION = model
        made = ReplicateClient().create_prediction(
            input={"prompt": "a cat"}, webhook_url="https://glisk.example/hooks?job=7"
        )
        seen = server.requests[-1]
        assert (seen.method, seen.target) == ("POST", path)
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
        assert seen.json == {
            "input": {"prompt": "a cat"},
            "webhook": "https://glisk.example/hooks?job=7",
            "webhook_events_filter": ["completed"],
            **version,
        }
        assert made.id == ID and made.status == "starting" and not made.is_terminal


@pytest.mark.usefixtures("client")
def test_the_vendor_ends_what_nobody_ends(server: ScriptedServer, settings: Settings) -> None:
    for seconds, told in {300: "5m", 61: "2m", 0.5: "1m"}.items():
        server.script(answer(201, prediction()))
        settings.GENERATION_TIMEOUT_SECONDS = seconds
        ReplicateClient().create_prediction(input={}, webhook_url=None)
        assert server.requests[-1].headers.get("cancel-after") == told


@pytest.mark.parametrize(
    "step",
    [
        hang_up(),
        answer(504),
        answer(201, b"<html>accepted, perhaps</html>"),
        answer(201, {"status": "starting"}),
        answer(201, b"[" * 100_000),
    ],
)
def test_a_lost_answer_leaves_the_outcome_unknown(
    server: ScriptedServer, client: ReplicateClient, step: Step
) -> None:
    server.script(step)
    assert type(refused(client)) is UnknownOutcomeError
    assert len(server.seen(1)) == 1


def test_at_a_closed_port_surely_nothing_is_made(
    server: ScriptedServer, client: ReplicateClient
) -> None:
    server.close()
    assert type(refused(client)) is TransientError


FAULTS: list[tuple[int, str, str, type[ProviderError], str]] = [
    (401, "Unauthenticated", "You did not pass a valid token", AccountError, "401"),
    (402, "", "You've hit your monthly spend limit.", AccountError, "402"),
    (404, "", "The requested resource could not be found.", AccountError, "model_not_found"),
    (422, "Input validation failed", "- input.seed: Invalid type.", InvalidRequestError, "422"),
    (422, "", "prediction 429nsfw402 is odd", InvalidRequestError, "422"),
    (422, "Invalid version or not permitted", "It does not exist", AccountError, "model_version"),
    (422, "", "The input was flagged as sensitive. (E005)", ContentPolicyError, "moderation"),
    (500, "", "Internal server error", UnknownOutcomeError, "500"),
    (521, "", "Web server is down", TransientError, "521"),
]


def test_a_refusal_is_classified(server: ScriptedServer, client: ReplicateClient) -> None:
    for status, title, detail, kind, code in FAULTS:
        server.script(answer(status, {"title": title, "detail": detail, "status": status}))
        error = refused(client)
        assert (type(error), error.status, error.code) == (kind, status, code)
        assert error.vendor == "replicate" and detail in str(error)
    # For its rate: the wait of the header counts, or else that of the body.
    body = {"detail": "throttled", "retry_after": 9}
    server.script(answer(429, body, Retry_After="5"), answer(429, body))
    for seconds in (5, 9):
        error = refused(client)
        assert error.rate_limited and error.retry_after_seconds == seconds


# -- reading one --------------------------------------------------------------------------


def test_a_finished_prediction_is_read(server: ScriptedServer, client: ReplicateClient) -> None:
    url = "https://replicate.delivery/xezq/token/out-0.webp"
    completed_at = "2026-02-01T10:00:01.623456789Z"
    ended = {"output": [url], "completed_at": completed_at, "metrics": {"predict_time": 0.52}}
    server.script(answer(200, prediction(status="succeeded", **ended)))
    got = client.get_prediction(ID)
    assert server.requests[0].target == f"/v1/predictions/{ID}"
    assert got.is_terminal and got.is_succeeded
    assert (got.output_urls, got.predict_time_seconds) == ((url,), 0.52)
    assert got.completed_at == datetime(2026, 2, 1, 10, 0, 1, 623456, tzinfo=UTC)
    assert got.input == {"prompt": "a cat"}


def test_what_cannot_be_read(server: ScriptedServer, client: ReplicateClient) -> None:
    server.script(answer(404, {"detail": "The requested resource could not be found."}))
    with pytest.raises(InvalidRequestError) as unknown:
        client.get_prediction(ID)
    assert unknown.value.status == 404
    server.script(answer(200, b"<html>"), answer(200, {"detail": "hm"}))
    with pytest.raises(TransientError) as nonsense:
        client.get_prediction(ID)
    assert not isinstance(nonsense.value, UnknownOutcomeError)
    with pytest.raises(TransientError):  # and no empty listing
        next(client.prediction_pages())
    # The SDK neither sleeps nor tries again.
    server.script(answer(503, b"", Retry_After="30"))
    with pytest.raises(TransientError) as busy:
        client.get_prediction(ID)
    assert busy.value.retry_after_seconds == 30
    assert len(server.requests) == 4


def test_only_the_host_and_the_token_of_the_settings_are_used(
    server: ScriptedServer, client: ReplicateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_BASE_URL", "https://elsewhere.invalid")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_another_000000000000000000000000000000")
    monkeypatch.setenv("https_proxy", "http://elsewhere.invalid")
    server.script(answer(200, prediction(status="canceled")), answer(200, prediction()))
    assert client.cancel_prediction(ID).status == "canceled"
    client.get_prediction("../account?x")  # the id is quoted
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert [(seen.method, seen.target) for seen in server.requests] == [
        ("POST", f"/v1/predictions/{ID}/cancel"),
        ("GET", "/v1/predictions/..%2Faccount%3Fx"),
    ]


# -- listing ------------------------------------------------------------------------------


def page(*items: dict[str, Any], following: str | None = None) -> Step:
    return answer(200, {"previous": None, "next": following, "results": list(items)})


def ids(pages: Iterable[list[Prediction]]) -> list[list[str]]:
    return [[found.id for found in page] for page in pages]


def test_the_listing_is_asked_for_what_lies_between_two_moments(
    server: ScriptedServer, client: ReplicateClient
) -> None:
    odd_entry = {"weird": 1}
    server.script(page(prediction(id="a", status="aborted"), odd_entry, prediction(id="b")))
    moment = START.astimezone(tz=None) + timedelta(milliseconds=1)
    pages = client.prediction_pages(created_after=moment, created_before=START)
    assert ids(pages) == [["a", "b"]]
    assert parse_qs(urlsplit(server.requests[0].target).query) == {
        "created_after": ["2026-02-01T09:00:00.001Z"],
        "created_before": ["2026-02-01T09:00:00.000Z"],
    }


def test_pages_are_followed_as_asked_for_but_never_to_another_host(
    server: ScriptedServer, client: ReplicateClient
) -> None:
    following = "https://evil.example/steal?cursor=c%3D1"
    server.script(page(prediction(id="a"), following=following), page(prediction(id="b")))
    assert ids(client.prediction_pages(created_after=START)) == [["a"], ["b"]]
    second = urlsplit(server.requests[1].target)
    assert second.path == "/v1/predictions"
    assert parse_qs(second.query)["cursor"] == ["c=1"]
    assert parse_qs(second.query)["created_after"] == ["2026-02-01T09:00:00.000Z"]
    server.script(page(prediction(), following="?cursor=2"))
    assert len(list(islice(client.prediction_pages(), 1))) == 1
    assert len(server.requests) == 3


# -- the account --------------------------------------------------------------------------


def test_the_vendors_clock_is_what_a_reply_told(
    server: ScriptedServer, client: ReplicateClient
) -> None:
    dated = {"Date": "Sun, 01 Feb 2026 10:00:00 GMT"}
    for headers in ({"Date": "soon"}, dated | {"Age": "60"}, {}):
        server.script(answer(200, prediction(), **headers))
        client.get_prediction(ID)
        assert client.clock is None
    server.script(answer(200, prediction(), **dated))
    client.get_prediction(ID)
    assert client.clock is not None
    assert client.clock.shown == datetime(2026, 2, 1, 10, tzinfo=UTC).timestamp()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_account_is_probed_and_tells_its_webhook_secret(
    server: ScriptedServer, client: ReplicateClient
) -> None:
    server.script(answer(200, {"type": "user", "username": "glisk"}), answer(401))
    client.probe()
    assert server.requests[0].target == "/v1/account"
    with pytest.raises(AccountError):
        client.probe()
    server.script(answer(200, {"key": "whsec_abcdefgh"}), answer(200, {"nothing": 1}))
    assert client.fetch_webhook_secret() == "whsec_abcdefgh"
    assert server.requests[2].target == "/v1/webhooks/default/secret"
    with pytest.raises(TransientError):
        client.fetch_webhook_secret()


def test_it_waits_as_long_as_the_settings_say(
    server: ScriptedServer, client: ReplicateClient, settings: Settings
) -> None:
    server.script(silence())
    settings.HTTP_READ_TIMEOUT_SECONDS = 0.1
    with pytest.raises(TransientError):
        ReplicateClient().get_prediction(ID)
