"""The Replicate client over sockets: requests as sent, replies as read, faults as classified."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.replicate import ModelReference, ReplicateClient
from glisk.errors import (
    AccountError,
    ContentPolicyError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    hang_up,
    raw,
    reset,
    silence,
)

TOKEN = "r8_test_0000000000000000000000000000000000"
MODEL = "black-forest-labs/flux-schnell"
VERSION = "c0ffee" * 10 + "beef"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"


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


def make(server: ScriptedServer, options: HttpOptions, model: str = MODEL) -> ReplicateClient:
    return ReplicateClient(api_token=TOKEN, model=model, base_url=server.url, options=options)


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> ReplicateClient:
    return make(server, options)


def refused(client: ReplicateClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.create_prediction(input={"prompt": "x"}, webhook_url=None)
    return caught.value


class TestCreating:
    @pytest.mark.parametrize(
        ("model", "path", "version"),
        [
            (MODEL, f"/v1/models/{MODEL}/predictions", None),
            (f"{MODEL}:{VERSION}", "/v1/predictions", VERSION),
            (VERSION, "/v1/predictions", VERSION),
        ],
    )
    def test_uses_the_endpoint_of_the_models_form(
        self,
        server: ScriptedServer,
        options: HttpOptions,
        model: str,
        path: str,
        version: str | None,
    ) -> None:
        server.script(answer(201, prediction()))
        made = make(server, options, model).create_prediction(
            input={"prompt": "a cat"}, webhook_url="https://glisk.example/hooks?job=7"
        )
        seen = server.requests[0]
        assert (seen.method, seen.target) == ("POST", path)
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
        expected = {
            "input": {"prompt": "a cat"},
            "webhook": "https://glisk.example/hooks?job=7",
            "webhook_events_filter": ["completed"],
        }
        assert seen.json == expected | ({"version": version} if version else {})
        assert made.id == ID and made.status == "starting" and not made.is_terminal

    def test_never_sends_null(self, server: ScriptedServer, client: ReplicateClient) -> None:
        server.script(answer(201, prediction()))
        client.create_prediction(
            input={"prompt": "x", "seed": None, "extra": {"a": None, "b": [None, {"c": None}]}},
            webhook_url=None,
        )
        assert server.requests[0].json == {"input": {"prompt": "x", "extra": {"b": [None, {}]}}}

    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_takes_any_2xx(
        self, server: ScriptedServer, client: ReplicateClient, status: int
    ) -> None:
        server.script(answer(status, prediction()))
        assert client.create_prediction(input={}, webhook_url=None).id == ID

    def test_works_with_a_base_url_that_ends_in_v1(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        server.script(answer(201, prediction()))
        client = ReplicateClient(
            api_token=TOKEN, model=MODEL, base_url=f"{server.url}/v1/", options=options
        )
        client.create_prediction(input={}, webhook_url=None)
        assert server.requests[0].target == f"/v1/models/{MODEL}/predictions"

    @pytest.mark.impatient
    @pytest.mark.parametrize(
        "step",
        [
            reset(),
            hang_up(),
            silence(),
            answer(502, "<html>bad gateway</html>"),
            answer(504),
            answer(201, b"<html>accepted, perhaps</html>"),
            answer(201, {"status": "starting"}),
            answer(201, b"[]"),
            answer(201, b"[" * 100_000),
            raw(b"HTTP/1.1 201 Crea"),
            raw(b'HTTP/1.1 201 Created\r\nContent-Length: 400\r\n\r\n{"id": "gm3q'),
        ],
    )
    def test_with_a_lost_answer_leaves_the_outcome_unknown(
        self, server: ScriptedServer, client: ReplicateClient, step: Step
    ) -> None:
        server.script(step)
        error = refused(client)
        assert type(error) is UnknownOutcomeError
        assert len(server.seen(1)) == 1

    def test_at_a_closed_port_surely_made_nothing(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        server.close()
        assert type(refused(make(server, options))) is TransientError


FAULTS: list[tuple[int, dict[str, Any], type[ProviderError], str]] = [
    (
        401,
        {
            "title": "Unauthenticated",
            "detail": "You did not pass a valid authentication token",
            "status": 401,
        },
        AccountError,
        "401",
    ),
    (
        402,
        {"title": "Insufficient credit", "detail": "You have insufficient credit to run this "},
        AccountError,
        "402",
    ),
    (402, {"detail": "You've hit your monthly spend limit."}, AccountError, "402"),
    (
        404,
        {"detail": "The requested resource could not be found.", "status": 404},
        AccountError,
        "model_not_found",
    ),
    (
        422,
        {
            "detail": "- input.seed: Invalid type. Expected: integer, given: null\n",
            "title": "Input validation failed",
            "invalid_fields": [{"type": "invalid_type", "field": "input.seed"}],
        },
        InvalidRequestError,
        "422",
    ),
    (
        422,
        {
            "title": "Invalid version or not permitted",
            "detail": "The specified version does not exist (or perhaps you don't have permission)",
        },
        AccountError,
        "model_version",
    ),
    (
        422,
        {"detail": "The input or output was flagged as sensitive. (E005) (uIJ6l3ruRD)"},
        ContentPolicyError,
        "E005",
    ),
    (500, {"detail": "Internal server error"}, TransientError, "500"),
    (503, {"detail": "Service unavailable"}, TransientError, "503"),
]


class TestARefusal:
    @pytest.mark.parametrize(("status", "body", "kind", "code"), FAULTS)
    def test_is_classified(
        self,
        server: ScriptedServer,
        client: ReplicateClient,
        status: int,
        body: dict[str, Any],
        kind: type[ProviderError],
        code: str,
    ) -> None:
        server.script(answer(status, body))
        error = refused(client)
        assert type(error) is kind
        assert (error.status, error.code, error.vendor) == (status, code, "replicate")
        assert body["detail"].split("\n")[0][:40] in str(error)

    def test_for_rate_carries_the_wait_of_the_header(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(429, {"detail": "throttled", "retry_after": 9}, Retry_After="5"))
        error = refused(client)
        assert isinstance(error, TransientError)
        assert error.rate_limited and error.retry_after_seconds == 5

    def test_for_rate_carries_the_wait_of_the_body_without_a_header(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(429, {"detail": "Request was throttled.", "retry_after": 9}))
        error = refused(client)
        assert isinstance(error, TransientError) and error.retry_after_seconds == 9

    def test_is_not_guessed_from_digits_in_the_text(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(422, {"detail": "prediction 429nsfw402 is odd"}))
        assert type(refused(client)) is InvalidRequestError


class TestReading:
    def test_returns_a_finished_prediction(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        url = "https://replicate.delivery/xezq/token/out-0.webp"
        server.script(
            answer(
                200,
                prediction(
                    status="succeeded",
                    output=[url],
                    completed_at="2026-02-01T10:00:01.623456789Z",
                    metrics={"predict_time": 0.52, "image_count": 1},
                ),
            )
        )
        got = client.get_prediction(ID)
        assert server.requests[0].target == f"/v1/predictions/{ID}"
        assert got.is_terminal and got.is_succeeded
        assert got.output_urls == (url,)
        assert got.predict_time_seconds == 0.52
        assert got.completed_at == datetime(2026, 2, 1, 10, 0, 1, 623456, tzinfo=UTC)
        assert got.input == {"prompt": "a cat"}

    def test_of_an_unknown_prediction_is_not_found(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(404, {"detail": "The requested resource could not be found."}))
        with pytest.raises(InvalidRequestError) as caught:
            client.get_prediction(ID)
        assert caught.value.reason == "not_found"

    def test_of_nonsense_is_transient(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(200, b"<html>"))
        with pytest.raises(TransientError) as caught:
            client.get_prediction(ID)
        assert not isinstance(caught.value, UnknownOutcomeError)

    def test_quotes_the_id(self, server: ScriptedServer, client: ReplicateClient) -> None:
        server.script(answer(200, prediction()))
        client.get_prediction("../account?x")
        assert server.requests[0].target == "/v1/predictions/..%2Faccount%3Fx"

    def test_cancels(self, server: ScriptedServer, client: ReplicateClient) -> None:
        server.script(answer(200, prediction(status="canceled")))
        assert client.cancel_prediction(ID).status == "canceled"
        seen = server.requests[0]
        assert (seen.method, seen.target) == ("POST", f"/v1/predictions/{ID}/cancel")


class TestListing:
    START = datetime(2026, 2, 1, 9, tzinfo=UTC)

    def page(self, *items: dict[str, Any], following: str | None = None) -> Step:
        return answer(200, {"previous": None, "next": following, "results": list(items)})

    def test_asks_for_what_is_newer_than_a_moment(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(self.page(prediction()))
        moment = self.START.astimezone(tz=None) + timedelta(milliseconds=1)
        listing = client.list_predictions(created_after=moment)
        query = parse_qs(urlsplit(server.requests[0].target).query)
        assert query == {"created_after": ["2026-02-01T09:00:00.001Z"]}
        assert [item.id for item in listing.predictions] == [ID]
        assert listing.is_complete

    def test_follows_pages_but_never_to_another_host(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(
            self.page(prediction(id="a"), following="https://evil.example/steal?cursor=c%3D1"),
            self.page(prediction(id="b")),
        )
        listing = client.list_predictions(created_after=self.START)
        assert [item.id for item in listing.predictions] == ["a", "b"]
        second = urlsplit(server.requests[1].target)
        assert second.path == "/v1/predictions"
        assert parse_qs(second.query)["cursor"] == ["c=1"]
        assert parse_qs(second.query)["created_after"] == ["2026-02-01T09:00:00.000Z"]

    def test_stops_at_the_first_that_is_too_old(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        old = prediction(id="old", created_at="2026-01-01T00:00:00Z")
        server.script(self.page(prediction(id="new"), old, following="/v1/predictions?cursor=2"))
        listing = client.list_predictions(created_after=self.START)
        assert [item.id for item in listing.predictions] == ["new"]
        assert listing.is_complete and len(server.requests) == 1

    def test_says_when_it_did_not_see_everything(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(*[self.page(prediction(), following="?cursor=2")] * 2)
        listing = client.list_predictions(max_pages=2)
        assert not listing.is_complete and len(server.requests) == 2

    def test_is_not_spoilt_by_one_odd_entry(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(
            self.page(prediction(id="a", status="aborted"), {"weird": 1}, prediction(id="b"))
        )
        assert [item.id for item in client.list_predictions().predictions] == ["a", "b"]

    def test_without_results_is_an_error_and_not_an_empty_list(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(200, {"detail": "hm"}))
        with pytest.raises(TransientError):
            client.list_predictions()


class TestTheAccount:
    def test_is_probed(self, server: ScriptedServer, client: ReplicateClient) -> None:
        server.script(answer(200, {"type": "user", "username": "glisk"}), answer(401))
        client.probe()
        assert server.requests[0].target == "/v1/account"
        with pytest.raises(AccountError):
            client.probe()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_tells_its_webhook_secret_by_the_official_sdk(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(
            answer(200, {"key": "whsec_abcdefgh"}),
            answer(401, {"detail": "no"}),
            answer(429, {"detail": "slow"}, Retry_After="60"),
            hang_up(),
            answer(200, {"nothing": 1}),
        )
        assert client.fetch_webhook_secret() == "whsec_abcdefgh"
        assert server.requests[0].target == "/v1/webhooks/default/secret"
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        with pytest.raises(AccountError):
            client.fetch_webhook_secret()
        with pytest.raises(TransientError) as caught:
            client.fetch_webhook_secret()
        assert caught.value.retry_after_seconds == 60
        for _ in range(2):
            with pytest.raises(TransientError):
                client.fetch_webhook_secret()
        assert len(server.requests) == 5


class TestTheModelSetting:
    @pytest.mark.parametrize("text", ["", "flux", "a/b/c", "a/b:latest", "a b/c", "A" * 64, "a/"])
    def test_is_refused_when_senseless(self, text: str) -> None:
        with pytest.raises(ValueError, match="REPLICATE_MODEL_VERSION"):
            ModelReference.parse(text)

    @pytest.mark.parametrize(
        ("seconds", "told"), [(300, "5m"), (61, "2m"), (0.5, "1m"), (None, None)]
    )
    def test_has_the_vendor_end_what_nobody_ends(
        self, server: ScriptedServer, options: HttpOptions, seconds: float | None, told: str | None
    ) -> None:
        server.script(answer(201, prediction()))
        client = ReplicateClient(
            api_token=TOKEN,
            model=MODEL,
            base_url=server.url,
            cancel_after_seconds=seconds,
            options=options,
        )
        client.create_prediction(input={}, webhook_url=None)
        assert server.requests[0].headers.get("cancel-after") == told

    def test_needs_a_token_with_it(self) -> None:
        with pytest.raises(ValueError, match="REPLICATE_API_TOKEN"):
            ReplicateClient(api_token="", model=MODEL)


def test_from_settings_reads_every_setting(settings: Any, server: ScriptedServer) -> None:
    settings.REPLICATE_BASE_URL = server.url
    settings.REPLICATE_API_TOKEN = TOKEN
    settings.REPLICATE_MODEL_VERSION = VERSION
    settings.HTTP_READ_TIMEOUT_SECONDS = 30
    server.script(answer(201, prediction()), silence())
    client = ReplicateClient.from_settings()
    client.create_prediction(input={}, webhook_url=None)
    assert server.requests[0].json["version"] == VERSION
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    settings.HTTP_READ_TIMEOUT_SECONDS = 0.1
    with pytest.raises(TransientError):
        ReplicateClient.from_settings().get_prediction(ID)
