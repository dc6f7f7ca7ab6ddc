"""The gateway: what it serves, how it refuses, how it fails."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import requests

from glisk.cid import compute_cid
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.paint import Painter
from sandbox.pinata.store import PLACEHOLDER_URI, ContentStore, block_of

METADATA = b'{"name":"GLISK S0 #1"}'
IMAGE = Painter(64).paint_file("a fox", 1)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


@pytest.fixture
def gateway(store: ContentStore) -> Iterator[GatewayEmulator]:
    with GatewayEmulator(store=store) as running:
        yield running


def pin(store: ContentStore, content: bytes, version: Literal[0, 1] = 1) -> str:
    cid = compute_cid(content, version=version)
    store.write(cid, content)
    return cid


def fetch(gateway: GatewayEmulator, cid: str) -> requests.Response:
    return requests.get(f"{gateway.url}/ipfs/{cid}", timeout=60)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("content", "media_type"), [(METADATA, "application/json"), (IMAGE, "image/webp")]
)
def test_pinned_bytes_are_served_for_good(
    gateway: GatewayEmulator,
    store: ContentStore,
    content: bytes,
    media_type: str,
    version: Literal[0, 1],
) -> None:
    cid = pin(store, content, version)
    response = fetch(gateway, cid)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["Content-Type"] == media_type
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert gateway.calls[-1].subject == cid


def test_both_texts_of_a_version_0_cid_find_the_file(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    pin(store, METADATA, 0)
    block = block_of(compute_cid(METADATA, version=0))
    assert fetch(gateway, block).content == METADATA
    assert fetch(gateway, compute_cid(METADATA, version=1)).status_code == 404


def test_it_shows_what_an_unrevealed_token_points_at(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    store.pin_placeholder()
    uri = PLACEHOLDER_URI
    for kind in ("application/json", "image/png"):
        assert re.fullmatch("ipfs://[a-zA-Z0-9]+", uri)
        answer = fetch(gateway, uri.removeprefix("ipfs://"))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
        uri = answer.json()["image"] if kind == "application/json" else ""


def test_what_is_not_there_is_refused(gateway: GatewayEmulator, store: ContentStore) -> None:
    for cid in ("nonsense", "Qm", "bafkrei0000"):
        assert fetch(gateway, cid).status_code == 400
    assert fetch(gateway, compute_cid(b"elsewhere", version=1)).status_code == 404
    for path in ("/", "/ipfs/", "/ipfs/a/b", "/ipns/x"):
        assert requests.get(gateway.url + path, timeout=60).status_code == 404
    assert fetch(gateway, "%2e%2e%2fpins.jsonl").status_code in (400, 404)
    assert fetch(gateway, pin(store, b"<!DOCTYPE html><p>hello")).status_code == 403


def test_a_token_is_taken_from_query_or_header(store: ContentStore) -> None:
    cid = pin(store, METADATA)
    with GatewayEmulator(store=store, token="open-sesame") as gateway:
        url = f"{gateway.url}/ipfs/{cid}"
        assert requests.get(url, timeout=60).status_code == 403
        assert requests.get(f"{url}?pinataGatewayToken=wrong", timeout=60).status_code == 403
        assert requests.get(f"{url}?pinataGatewayToken=open-sesame", timeout=60).content == METADATA
        header = {"x-pinata-gateway-token": "open-sesame"}
        assert requests.get(url, headers=header, timeout=60).content == METADATA


def test_a_fresh_pin_may_not_be_found_at_first(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    gateway.set_faults(not_found_first=2)
    first, second = pin(store, METADATA), pin(store, IMAGE)
    assert [fetch(gateway, first).status_code for _ in range(3)] == [404, 404, 200]
    assert fetch(gateway, second).status_code == 404


def test_other_bytes_may_come(gateway: GatewayEmulator, store: ContentStore) -> None:
    cid = pin(store, IMAGE)
    gateway.set_faults(html_rate=1.0)
    page = fetch(gateway, cid)
    assert (page.status_code, page.content[:15]) == (200, b"<!DOCTYPE html>")
    assert page.headers["Content-Type"].startswith("text/html")
    gateway.set_faults(html_rate=0.0, truncated_rate=1.0)
    assert fetch(gateway, cid).content == IMAGE[: len(IMAGE) // 2]
    gateway.set_faults(truncated_rate=0.0, wrong_content_rate=1.0)
    content = fetch(gateway, cid).content
    assert (len(content), content == IMAGE) == (len(IMAGE), False)


def test_a_body_may_be_slow(gateway: GatewayEmulator, store: ContentStore) -> None:
    gateway.set_faults(slow_rate=1.0, slow_bytes_per_second=10_000)
    started = time.monotonic()
    assert fetch(gateway, pin(store, b"x" * 4000)).content == b"x" * 4000
    assert time.monotonic() - started > 0.3
