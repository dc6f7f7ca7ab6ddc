"""What pages may load; a real browser holds them to it in test_door_in_browser.py."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from django.test import Client

from glisk.security.middleware import DATA, HEADER, REFUSALS

pytestmark = pytest.mark.django_db


def test_answers_for_programs_load_nothing_and_other_pages_what_they_need(client: Client) -> None:
    for path in ("/api/tokens", "/openapi.json", "/health/live", "/docs?script="):
        assert client.get(path)[HEADER] == DATA, path
    assert client.post("/webhooks/replicate")[HEADER] == DATA
    for path in ("/docs", "/redoc", "/", "/no/such/page", "/admin/login/"):
        policy = client.get(path, headers={"Accept": "text/html"})[HEADER]
        assert "default-src 'none'" in policy, path
        assert "script-src 'unsafe-inline'" not in policy, path
        assert ("'unsafe-eval'" in policy) is path.startswith("/admin"), path


def test_the_style_of_the_refusals_is_the_one_whose_hash_is_allowed() -> None:
    page = (Path(__file__).parents[1] / "templates" / "refusal.html").read_text()
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in REFUSALS
