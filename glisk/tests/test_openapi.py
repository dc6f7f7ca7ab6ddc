"""The API describes itself without a warning, and its pages load nothing foreign."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client


def test_the_schema_is_generated_without_warnings(tmp_path: Path) -> None:
    target = tmp_path / "schema.json"
    call_command(
        "spectacular", file=str(target), format="openapi-json", validate=True, fail_on_warn=True
    )
    paths = json.loads(target.read_text())["paths"]
    assert {
        "/api/authors/leaderboard",
        "/api/authors/{wallet}",
        "/api/authors/{wallet}/tokens",
        "/api/tokens/{token_id}",
    } <= set(paths)


def test_the_committed_schema_is_the_servers(client: Client) -> None:
    """Who changes the API sees it in the diff: `make schema` writes the file anew."""
    committed = json.loads((settings.BASE_DIR / "docs" / "openapi.json").read_text())
    assert committed == json.loads(client.get("/openapi.json").content)


def test_the_schema_is_served_as_json_with_examples(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    schema = json.loads(answer.content)
    for path in ("/api/authors/{wallet}", "/api/authors/{wallet}/tokens", "/api/tokens/{token_id}"):
        content = schema["paths"][path]["get"]["responses"]["200"]["content"]
        assert content["application/json"]["examples"], path
    refused = schema["paths"]["/api/authors/{wallet}/tokens"]["get"]["responses"]["422"]
    assert refused["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


@pytest.mark.parametrize("url", ["/docs", "/redoc"])
def test_the_pages_load_local_files_only(client: Client, url: str) -> None:
    text = client.get(url).content.decode()
    loaded = re.findall(r'<(?:script|img|link)[^>]+?(?:src|href)="([^"]+)"', text)
    assert loaded
    for address in loaded:
        assert not urlsplit(address).netloc, address
        assert finders.find(address.removeprefix("/static/")), address
