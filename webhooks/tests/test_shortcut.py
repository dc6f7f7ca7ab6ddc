"""A delivery passes what guards every request, and nothing that is for browsers only."""

from collections.abc import Callable

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from pytest_django import Settings

URLS = ["/webhooks/alchemy", "/webhooks/replicate"]

passed: list[str] = []


class Innermost:
    """Notes whoever came through all middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        passed.append(request.path)
        return self.get_response(request)


@pytest.fixture
def all_middleware(settings: Settings) -> None:
    passed.clear()
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Innermost"]


@pytest.mark.usefixtures("all_middleware")
@pytest.mark.parametrize("url", URLS)
def test_a_delivery_meets_no_middleware_that_is_for_browsers(url: str) -> None:
    answer = Client().post(url, data=b"{}", content_type="application/json")
    assert answer.status_code == 401
    assert not passed
    assert not answer.cookies


@pytest.mark.usefixtures("all_middleware")
@pytest.mark.django_db
@pytest.mark.parametrize("url", ["/admin/login/", "/api/authors/leaderboard", "/webhooks/other"])
def test_everything_else_passes_all_of_it(url: str) -> None:
    Client().get(url)
    assert passed == [url]


def test_the_middleware_above_the_shortcut_is_what_a_delivery_needs(settings: Settings) -> None:
    above = settings.MIDDLEWARE[: settings.MIDDLEWARE.index("webhooks.shortcut.WebhookShortcut")]
    assert [name.rpartition(".")[2] for name in above] == [
        "RequestContextMiddleware",
        "SecurityMiddleware",
        "CommonMiddleware",
        "XFrameOptionsMiddleware",
    ]


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
