"""A delivery passes what guards every request."""

import pytest
from django.test import Client
from pytest_django import Settings

URLS = ["/webhooks/alchemy", "/webhooks/replicate"]


@pytest.mark.django_db
@pytest.mark.parametrize("url", [*URLS, "/admin/login/", "/health"])
def test_every_answer_has_the_security_headers_and_a_request_id(url: str) -> None:
    answer = Client().get(url, headers={"X-Request-Id": "given-1"})
    assert answer["X-Request-Id"] == "given-1"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Content-Length"] == str(len(answer.content))


@pytest.mark.parametrize("url", URLS)
def test_a_delivery_to_another_host_is_refused(url: str) -> None:
    answer = Client().post(
        url, data=b"{}", content_type="application/json", headers={"Host": "elsewhere.example"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("url", URLS)
def test_plain_http_is_sent_on_to_https_where_that_is_wanted(url: str, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = Client().post(url, data=b"{}", content_type="application/json")
    assert answer.status_code == 301


def test_an_unknown_webhook_gets_the_usual_answer() -> None:
    answer = Client().get("/webhooks/other")
    assert answer.status_code == 404
    assert list(answer.json()) == ["detail"]
