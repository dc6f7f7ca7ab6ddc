"""The gateway: what it serves, how it refuses, how it fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sandbox.gateway import GatewayEmulator
from sandbox.gateway.sniff import content_type
from sandbox.paint import Painter
from sandbox.pinata import ContentStore
from sandbox.pinata.ipfs_cid import add_file

METADATA = b'{"name":"GLISK S0 #1"}'
IMAGE = Painter().paint_file("a fox", 1, width=64, height=64, file_format="webp", quality=80)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path)


@pytest.fixture
def gateway(store: ContentStore) -> Iterator[GatewayEmulator]:
    with GatewayEmulator(store=store) as running:
        yield running


def pin(store: ContentStore, content: bytes, version: int = 1) -> str:
    cid = str(add_file([content], cid_version=version).cid)
    store.write(cid, content)
    return cid


def fetch(gateway: GatewayEmulator, cid: str, **headers: str) -> requests.Response:
    return requests.get(f"{gateway.url}/ipfs/{cid}", headers=headers, timeout=60)


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("content", "media_type"), [(METADATA, "application/json"), (IMAGE, "image/webp")]
)
def test_pinned_bytes_are_served_for_good(
    gateway: GatewayEmulator, store: ContentStore, content: bytes, media_type: str, version: int
) -> None:
    cid = pin(store, content, version)
    response = fetch(gateway, cid)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["Content-Type"] == media_type
    assert response.headers["ETag"] == f'"{cid}"'
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert gateway.calls[-1].subject == cid


def test_both_texts_of_a_version_0_cid_find_the_file(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    pin(store, METADATA, 0)
    as_version_1 = str(add_file([METADATA], cid_version=0).cid.as_version_1)
    assert as_version_1.startswith("bafybei")
    assert fetch(gateway, as_version_1).content == METADATA
    raw = str(add_file([METADATA], cid_version=1).cid)
    assert fetch(gateway, raw).status_code == 404


def test_head_has_the_headers_only(gateway: GatewayEmulator, store: ContentStore) -> None:
    response = requests.head(f"{gateway.url}/ipfs/{pin(store, IMAGE)}", timeout=60)
    assert response.headers["Content-Length"] == str(len(IMAGE))
    assert response.content == b""


def test_a_known_etag_is_not_sent_again(gateway: GatewayEmulator, store: ContentStore) -> None:
    cid = pin(store, IMAGE)
    response = fetch(gateway, cid, **{"If-None-Match": f'"{cid}"'})
    assert (response.status_code, response.content) == (304, b"")


def test_browsers_may_ask_first(gateway: GatewayEmulator) -> None:
    response = requests.options(f"{gateway.url}/ipfs/x", timeout=60)
    assert response.status_code == 204
    assert "GET" in response.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("cid", ["nonsense", "Qm", "bafkrei0000", METADATA.decode()])
def test_what_is_no_cid_is_a_400(gateway: GatewayEmulator, cid: str) -> None:
    assert fetch(gateway, cid.replace("#", "%23")).status_code == 400


@pytest.mark.parametrize("status", [403, 404, 504])
def test_what_is_not_there_has_the_status_chosen(gateway: GatewayEmulator, status: int) -> None:
    gateway.set_faults(missing_status=status, missing_seconds=0.2)
    started = time.monotonic()
    response = fetch(gateway, str(add_file([b"elsewhere"]).cid))
    assert response.status_code == status
    assert time.monotonic() - started >= 0.2
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_other_missing_statuses_are_refused(gateway: GatewayEmulator) -> None:
    with pytest.raises(ValueError, match="missing_status"):
        gateway.set_faults(missing_status=200)


def test_paths_outside_ipfs_are_404(gateway: GatewayEmulator) -> None:
    for path in ("/", "/ipfs/", "/ipfs/a/b", "/ipns/x", "/ipfs/%2e%2e%2fpins.jsonl"):
        assert requests.get(gateway.url + path, timeout=60).status_code == 404


def test_a_token_is_taken_from_query_or_header(store: ContentStore) -> None:
    cid = pin(store, METADATA)
    with GatewayEmulator(store=store, token="open-sesame") as gateway:
        url = f"{gateway.url}/ipfs/{cid}"
        assert requests.get(url, timeout=60).status_code == 403
        assert requests.get(f"{url}?pinataGatewayToken=wrong", timeout=60).status_code == 403
        assert requests.get(f"{url}?pinataGatewayToken=open-sesame", timeout=60).content == METADATA
        header = {"x-pinata-gateway-token": "open-sesame"}
        assert requests.get(url, headers=header, timeout=60).content == METADATA
        assert all("sesame" not in call.path for call in gateway.calls)


def test_html_files_are_refused_unless_allowed(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    cid = pin(store, b"<!DOCTYPE html><p>hello")
    assert fetch(gateway, cid).status_code == 403
    gateway.set_faults(refuse_html=False)
    assert fetch(gateway, cid).headers["Content-Type"] == "text/html"


def test_a_fresh_pin_may_not_be_found_at_first(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    gateway.set_faults(not_found_first=2)
    first, second = pin(store, METADATA), pin(store, IMAGE)
    assert [fetch(gateway, first).status_code for _ in range(3)] == [404, 404, 200]
    assert fetch(gateway, second).status_code == 404


def test_a_page_may_come_instead_of_the_bytes(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    gateway.set_faults(html_rate=1.0)
    response = fetch(gateway, pin(store, IMAGE))
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.content.startswith(b"<!DOCTYPE html>")


def test_a_body_may_be_too_short(gateway: GatewayEmulator, store: ContentStore) -> None:
    gateway.set_faults(truncated_rate=1.0)
    response = fetch(gateway, pin(store, IMAGE))
    assert response.content == IMAGE[: len(IMAGE) // 2]


def test_a_connection_may_end_within_the_body(
    gateway: GatewayEmulator, store: ContentStore
) -> None:
    gateway.set_faults(cut_rate=1.0)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetch(gateway, pin(store, IMAGE))


def test_other_bytes_may_come(gateway: GatewayEmulator, store: ContentStore) -> None:
    gateway.set_faults(wrong_content_rate=1.0)
    content = fetch(gateway, pin(store, IMAGE)).content
    assert len(content) == len(IMAGE)
    assert content != IMAGE


def test_a_body_may_be_slow(gateway: GatewayEmulator, store: ContentStore) -> None:
    gateway.set_faults(slow_rate=1.0, slow_bytes_per_second=10_000)
    started = time.monotonic()
    assert fetch(gateway, pin(store, b"x" * 4000)).content == b"x" * 4000
    assert time.monotonic() - started > 0.3


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"GIF89a", "image/gif"),
        (b"<svg xmlns='x'/>", "image/svg+xml"),
        (b"<html><body>", "text/html"),
        (b'{"a": 1}', "application/json"),
        (b"[1, 2]", "application/json"),
        (b"{not json", "text/plain; charset=utf-8"),
        (b"hello", "text/plain; charset=utf-8"),
        (b"\x00\xff\x00", "application/octet-stream"),
        (b"", "text/plain; charset=utf-8"),
    ],
)
def test_types_are_told_by_the_first_bytes(content: bytes, media_type: str) -> None:
    assert content_type(content) == media_type
