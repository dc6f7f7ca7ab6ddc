"""Predictions as they are asked for, over sockets, and refusals as they are classified."""

from __future__ import annotations

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.replicate import ReplicateClient
from glisk.errors import (
    AccountError,
    ContentPolicyError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.replicate.stage import ID, MODEL, TOKEN, VERSION, make, prediction, refused
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up


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

    def test_works_with_a_base_url_that_ends_in_v1(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        server.script(answer(201, prediction()))
        client = ReplicateClient(
            api_token=TOKEN, model=MODEL, base_url=f"{server.url}/v1/", options=options
        )
        client.create_prediction(input={}, webhook_url=None)
        assert server.requests[0].target == f"/v1/models/{MODEL}/predictions"

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
    def test_with_a_lost_answer_leaves_the_outcome_unknown(
        self, server: ScriptedServer, client: ReplicateClient, step: Step
    ) -> None:
        server.script(step)
        assert type(refused(client)) is UnknownOutcomeError
        assert len(server.seen(1)) == 1

    def test_at_a_closed_port_surely_made_nothing(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        server.close()
        assert type(refused(make(server, options))) is TransientError


FAULTS: list[tuple[int, str, str, type[ProviderError], str]] = [
    (401, "Unauthenticated", "You did not pass a valid token", AccountError, "401"),
    (402, "Insufficient credit", "You have insufficient credit", AccountError, "402"),
    (402, "", "You've hit your monthly spend limit.", AccountError, "402"),
    (404, "", "The requested resource could not be found.", AccountError, "model_not_found"),
    (422, "Input validation failed", "- input.seed: Invalid type.", InvalidRequestError, "422"),
    (422, "", "prediction 429nsfw402 is odd", InvalidRequestError, "422"),
    (
        422,
        "Invalid version or not permitted",
        "The specified version does not exist (or perhaps you don't have permission)",
        AccountError,
        "model_version",
    ),
    (422, "", "The input was flagged as sensitive. (E005)", ContentPolicyError, "moderation"),
    (500, "", "Internal server error", UnknownOutcomeError, "500"),
    (503, "", "Service unavailable", UnknownOutcomeError, "503"),
    (521, "", "Web server is down", TransientError, "521"),
]


class TestARefusal:
    def test_is_classified(self, server: ScriptedServer, client: ReplicateClient) -> None:
        for status, title, detail, kind, code in FAULTS:
            server.script(answer(status, {"title": title, "detail": detail, "status": status}))
            error = refused(client)
            assert (type(error), error.status, error.code) == (kind, status, code)
            assert error.vendor == "replicate"
            assert detail in str(error)

    def test_for_rate_carries_the_wait_of_the_header_or_else_of_the_body(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        body = {"detail": "throttled", "retry_after": 9}
        server.script(answer(429, body, Retry_After="5"), answer(429, body))
        for seconds in (5, 9):
            error = refused(client)
            assert error.rate_limited and error.retry_after_seconds == seconds
