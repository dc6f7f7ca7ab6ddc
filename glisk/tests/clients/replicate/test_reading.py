"""Predictions as they are read, singly and as a list, over sockets."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from glisk.clients.replicate import Prediction, ReplicateClient
from glisk.errors import InvalidRequestError, TransientError, UnknownOutcomeError
from glisk.tests.clients.replicate.stage import ID, TOKEN, prediction
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer


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
        assert caught.value.status == 404

    def test_of_nonsense_is_transient(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(200, b"<html>"), answer(200, {"detail": "hm"}))
        with pytest.raises(TransientError) as caught:
            client.get_prediction(ID)
        assert not isinstance(caught.value, UnknownOutcomeError)
        with pytest.raises(TransientError):  # and no empty listing
            next(client.prediction_pages())

    def test_neither_sleeps_nor_tries_again_inside_the_sdk(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(503, b"", Retry_After="30"))
        with pytest.raises(TransientError) as caught:
            client.get_prediction(ID)
        assert caught.value.retry_after_seconds == 30
        assert len(server.requests) == 1

    def test_asks_the_host_and_shows_the_token_of_the_settings_only(
        self, server: ScriptedServer, client: ReplicateClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REPLICATE_BASE_URL", "https://elsewhere.invalid")
        monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_another_000000000000000000000000000000")
        monkeypatch.setenv("https_proxy", "http://elsewhere.invalid")
        server.script(answer(200, prediction()))
        client.get_prediction(ID)
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"

    def test_or_canceling_names_the_prediction(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(200, prediction(status="canceled")), answer(200, prediction()))
        assert client.cancel_prediction(ID).status == "canceled"
        client.get_prediction("../account?x")  # the id is quoted
        assert [(seen.method, seen.target) for seen in server.requests] == [
            ("POST", f"/v1/predictions/{ID}/cancel"),
            ("GET", "/v1/predictions/..%2Faccount%3Fx"),
        ]


class TestListing:
    START = datetime(2026, 2, 1, 9, tzinfo=UTC)

    def page(self, *items: dict[str, Any], following: str | None = None) -> Step:
        return answer(200, {"previous": None, "next": following, "results": list(items)})

    def ids(self, pages: Iterable[list[Prediction]]) -> list[list[str]]:
        return [[found.id for found in page] for page in pages]

    def test_asks_for_what_lies_between_two_moments(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(self.page(prediction()))
        moment = self.START.astimezone(tz=None) + timedelta(milliseconds=1)
        pages = client.prediction_pages(created_after=moment, created_before=self.START)
        assert self.ids(pages) == [[ID]]
        query = parse_qs(urlsplit(server.requests[0].target).query)
        assert query == {
            "created_after": ["2026-02-01T09:00:00.001Z"],
            "created_before": ["2026-02-01T09:00:00.000Z"],
        }

    def test_follows_pages_but_never_to_another_host(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(
            self.page(prediction(id="a"), following="https://evil.example/steal?cursor=c%3D1"),
            self.page(prediction(id="b")),
        )
        assert self.ids(client.prediction_pages(created_after=self.START)) == [["a"], ["b"]]
        second = urlsplit(server.requests[1].target)
        assert second.path == "/v1/predictions"
        assert parse_qs(second.query)["cursor"] == ["c=1"]
        assert parse_qs(second.query)["created_after"] == ["2026-02-01T09:00:00.000Z"]

    def test_reads_no_page_that_nobody_asks_for(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(*[self.page(prediction(), following="?cursor=2")] * 2)
        assert len(list(islice(client.prediction_pages(), 2))) == len(server.requests) == 2

    def test_is_not_spoilt_by_one_odd_entry(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(
            self.page(prediction(id="a", status="aborted"), {"weird": 1}, prediction(id="b"))
        )
        assert self.ids(client.prediction_pages()) == [["a", "b"]]


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
