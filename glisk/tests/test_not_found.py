"""Where nothing is, programs read JSON and people a page; a fault never shows its text."""

import json

import pytest
from django.http import HttpRequest
from django.test import Client
from pytest_django import Settings

from glisk.api.exceptions import server_error

WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


def test_programs_read_json(client: Client) -> None:
    for path in ("/api/nothing", "/api/tokens/-1", "/api/authors", "/webhooks/x"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"detail": "There is nothing at this address."}


def test_people_see_a_page(client: Client, settings: Settings) -> None:
    # as in production before collectstatic: a page of last resort needs no other file
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert b"<h1>There is nothing at this address</h1>" in answer.content
    assert b"no-such-page" not in answer.content


@pytest.mark.django_db
def test_one_who_is_lost_in_the_admin_finds_back_to_it(admin_client: Client) -> None:
    answer = admin_client.get("/admin/no-such-page/")
    assert answer.status_code == 404
    assert b'<a href="/admin/">To the dashboard</a>' in answer.content


@pytest.mark.django_db
def test_too_many_parameters_are_the_callers_fault(client: Client) -> None:
    author = f"/api/authors/{WALLET}"
    for path in ("/api/tokens", f"{author}/tokens", f"{author}/nonce", "/openapi.json"):
        answer = client.get(f"{path}?{'a&' * 1100}")
        assert answer.status_code == 400
        assert answer.json() == {"detail": "The request makes no sense."}


def test_a_foreign_host_is_refused(client: Client) -> None:
    for path, kind in (("/api/tokens", "json"), ("/", "html"), ("/webhooks/alchemy", "json")):
        answer = client.post(path, headers={"Host": "evil.example"})
        assert answer.status_code == 400
        assert kind in answer["Content-Type"]
        assert b"evil" not in answer.content
        assert b"This host is not allowed" in answer.content
        assert b"ALLOWED_HOSTS" in answer.content
        if kind == "json":
            assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(("path", "kind"), [("/api/x", "json"), ("/x", "html")])
def test_a_fault_outside_a_view_tells_nothing(path: str, kind: str) -> None:
    request = HttpRequest()
    request.path = path
    answer = server_error(request)
    assert answer.status_code == 500
    assert kind in answer["Content-Type"]
    assert b"Something went wrong on our side" in answer.content
    if kind == "json":
        assert json.loads(answer.content) == {"detail": "Something went wrong on our side."}
