"""The API describes itself without a warning, and its pages load nothing foreign."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from authors.tests.factories import wallet

COMMITTED = json.loads((settings.BASE_DIR / "docs" / "openapi.json").read_text())


def test_the_schema_is_generated_without_warnings_and_committed(tmp_path: Path) -> None:
    """Who changes the API sees it in the diff: `make schema` writes the file anew."""
    target = tmp_path / "schema.json"
    call_command(
        "spectacular", file=str(target), format="openapi-json", validate=True, fail_on_warn=True
    )
    assert json.loads(target.read_text()) == COMMITTED


def test_the_schema_is_served_as_json_with_examples(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert json.loads(answer.content) == COMMITTED
    for path in ("/api/authors/{wallet}/tokens", "/api/tokens/{token_id}", "/api/mints/{tx_hash}"):
        content = COMMITTED["paths"][path]["get"]["responses"]["200"]["content"]
        assert content["application/json"]["examples"], path
    refused = COMMITTED["paths"]["/api/authors/{wallet}/tokens"]["get"]["responses"]["422"]
    assert refused["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


def test_every_answer_says_what_it_means() -> None:
    for path, operations in COMMITTED["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                assert answer["description"], (path, status)


VERBS = [
    "Check",
    "Finish",
    "Follow",
    "Get",
    "Link",
    "List",
    "Put",
    "Reveal",
    "Set",
    "Start",
    "Take",
]


def test_every_summary_begins_with_a_verb() -> None:
    for path, operations in COMMITTED["paths"].items():
        for operation in operations.values():
            assert operation["summary"].split()[0] in VERBS, (path, operation["summary"])


# The health pages have a connection of their own (glisk/tests/test_health.py).
READS = [
    path
    for path, operations in COMMITTED["paths"].items()
    if "get" in operations and path.startswith("/api/")
]


@pytest.mark.parametrize("path", READS)
def test_without_database_every_read_answers_as_the_schema_says(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise OperationalError("host=secret.example")

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", fail)
    url = path.format(wallet=wallet(1), token_id=7, tx_hash="0x" + "a" * 64)
    answer = client.get(url)
    said = COMMITTED["paths"][path]["get"]["responses"]
    assert str(answer.status_code) in said
    assert b"secret" not in answer.content
    if path.startswith("/api/admin/"):
        assert answer.status_code == 401  # the database was not asked
    elif "302" in said:
        assert answer["Location"].endswith("error=missing_params")
    elif path.endswith("/leaderboard"):
        assert (answer.status_code, answer.json()) == (503, [])
    else:
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert said["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/Error")
        assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("url", ["/docs", "/redoc"])
def test_the_pages_load_local_files_only(client: Client, url: str) -> None:
    text = client.get(url).content.decode()
    loaded = re.findall(r'<(?:script|img|link)[^>]+?(?:src|href)="([^"]+)"', text)
    assert loaded
    for address in loaded:
        assert not urlsplit(address).netloc, address
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:  # the start of Swagger UI, which its page may not hold itself (CSP)
            assert client.get(address)["Content-Type"].startswith("application/javascript")
