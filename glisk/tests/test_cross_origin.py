"""Pages of the origins in CORS_ORIGINS may call the API, others may not; every answer is named."""

import json
import logging

import pytest
from django.test import Client
from pytest_django import Settings

from tokens.api import views

pytestmark = pytest.mark.django_db
OURS = "https://app.glisk.example"
ALLOWED = "Access-Control-Allow-Origin"
FOREIGN = [
    "https://evil.example",
    "https://app.glisk.example.evil.example",
    "http://app.glisk.example",
    "https://app.glisk.example:8443",
    "null",
]


@pytest.fixture(autouse=True)
def origins(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [OURS]


def preflight(client: Client, origin: str) -> dict[str, str]:
    answer = client.options(
        "/api/authors/prompt",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )
    assert answer.status_code == 200
    return dict(answer.headers)


def test_our_page_may_post_and_read(client: Client) -> None:
    allowed = preflight(client, OURS)
    assert allowed[ALLOWED.lower()] == OURS
    assert "POST" in allowed["access-control-allow-methods"]
    assert "content-type" in allowed["access-control-allow-headers"]
    posted = client.post(
        "/api/authors/prompt", {}, content_type="application/json", headers={"Origin": OURS}
    )
    read = client.get("/api/authors/leaderboard", headers={"Origin": OURS})
    for answer in (posted, read):
        assert answer[ALLOWED] == OURS
        assert "origin" in answer["Vary"].lower()
        assert "Access-Control-Allow-Credentials" not in answer
        exposed = {name.strip() for name in answer["Access-Control-Expose-Headers"].split(",")}
        assert exposed == {"Retry-After", "X-Request-Id"}


def test_other_pages_may_not(client: Client, settings: Settings) -> None:
    for origin in FOREIGN:
        assert ALLOWED.lower() not in preflight(client, origin)
        assert ALLOWED not in client.get("/api/authors/leaderboard", headers={"Origin": origin})
    settings.CORS_ALLOWED_ORIGINS = []
    assert ALLOWED.lower() not in preflight(client, OURS)


def test_a_request_id_is_taken_or_made_and_logged(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("of the test")

    monkeypatch.setattr(views, "leaderboard", fail)
    client.raise_request_exception = False
    for given, taken in {"page-7.2_A": True, "": False, "a b": False, "x" * 65: False}.items():
        named = client.get("/api/tokens", headers={"X-Request-Id": given})["X-Request-Id"]
        assert (named == given) is taken
        assert 1 <= len(named) <= 64
    with caplog.at_level(logging.ERROR):
        answer = client.get("/api/authors/leaderboard", headers={"X-Request-Id": "find-me"})
    assert (answer.status_code, answer["X-Request-Id"]) == (500, "find-me")
    assert json.loads(answer.content) == {"detail": "Something went wrong on our side."}
    assert any("find-me" in str(record.msg) for record in caplog.records)
