"""A delivery passes what guards every request."""

import pytest
from django.test import Client
from pytest_django import Settings

URLS = ["/webhooks/alchemy", "/webhooks/replicate"]


@pytest.mark.django_db
def test_every_answer_has_the_security_headers_and_a_request_id() -> None:
    for url in (*URLS, "/admin/login/", "/health"):
        answer = Client().get(url, headers={"X-Request-Id": "given-1"})
        assert answer["X-Request-Id"] == "given-1"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["Content-Length"] == str(len(answer.content))


@pytest.mark.parametrize("url", URLS)
def test_a_delivery_by_another_way_is_not_taken(url: str, settings: Settings) -> None:
    elsewhere = {"Host": "elsewhere.example"}
    assert Client().post(url, b"{}", "application/json", headers=elsewhere).status_code == 400
    settings.SECURE_SSL_REDIRECT = True
    assert Client().post(url, b"{}", "application/json").status_code == 301
