"""Output URLs that lead where they must not are refused: nothing is asked, pinned or paid."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from glisk.tests.clients.scripted_server import ScriptedServer, answer, raw
from tokens.factories import TokenFactory
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.states import TokenStatus
from tokens.tests.stage import Start, Vendors, is_failed

pytestmark = pytest.mark.django_db

REPLICATE = ["replicate.delivery", "*.replicate.delivery"]


@pytest.fixture
def victim() -> Iterator[ScriptedServer]:
    """A server inside our network that nobody outside may reach by way of us."""
    server = ScriptedServer()
    server.script(*[answer(200, b"the keys")] * 4)
    yield server
    server.close()


def paid_token(url: str) -> Token:
    """Make a token whose prediction succeeded with this output."""
    token: Token = TokenFactory.create(status=TokenStatus.GENERATING, generation_attempts=1)
    ImageGenerationJob.objects.create(
        token=token,
        prompt=token.prompt,
        input={"prompt": token.prompt, "seed": 1},
        service="replicate",
        model="black-forest-labs/flux-schnell",
        external_id=f"prediction{token.pk}",
        attempt_number=1,
        status=JobStatus.SUCCEEDED,
        output_url=url,
    )
    return token


def refused(worker: Start, vendors: Vendors, url: str) -> str:
    """Let a worker meet an output URL; return why it was refused."""
    token = paid_token(url)
    worker().until(is_failed(token))
    token.refresh_from_db()
    assert vendors.pinata.calls == []
    assert vendors.creations() == 0
    assert (token.image_cid, hasattr(token, "image")) == (None, False)
    assert ImageGenerationJob.objects.get().status == JobStatus.FAILED
    return token.generation_error or ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://0:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "http://replicate.delivery@127.0.0.1:{port}/",
        "http://replicate.delivery:{port}/",
        "https://replicate.delivery.evil.example/x.webp",
        "file:///etc/passwd",
        "ftp://replicate.delivery/x.webp",
        "gopher://127.0.0.1:{port}/_",
        "//replicate.delivery/x.webp",
    ],
)
def test_an_address_inside_or_another_scheme_is_refused(
    worker: Start, vendors: Vendors, settings: Settings, victim: ScriptedServer, url: str
) -> None:
    settings.REPLICATE_OUTPUT_HOSTS = REPLICATE
    message = refused(worker, vendors, url.format(port=victim.port))
    assert "the URL is refused" in message
    assert victim.requests == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.5"],
        ["169.254.169.254"],
        ["::1"],
        ["fd00::5"],
        ["::ffff:10.0.0.5"],
        ["64:ff9b::a00:5"],
        ["::10.0.0.5"],
        ["104.18.0.1", "127.0.0.1"],
    ],
)
def test_an_allowed_name_that_leads_inside_is_refused(
    worker: Start,
    vendors: Vendors,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
) -> None:
    settings.REPLICATE_OUTPUT_HOSTS = REPLICATE
    as_real, connected = socket.getaddrinfo, []

    def resolve(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host != "cdn.replicate.delivery":
            return as_real(host, port, *rest, **options)
        kinds = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in addresses]
        return [
            (kind, socket.SOCK_STREAM, 6, "", (address, port))
            for kind, address in zip(kinds, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("glisk.clients.download._connect", lambda *args: connected.append(args))
    message = refused(worker, vendors, "https://cdn.replicate.delivery/out-0.webp")
    assert "an address that is not public" in message
    assert connected == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    worker: Start, vendors: Vendors, settings: Settings, victim: ScriptedServer, status: int
) -> None:
    server = ScriptedServer()
    try:
        server.script(answer(status, b"", Location=victim.url))
        settings.REPLICATE_OUTPUT_HOSTS = [f"127.0.0.1:{server.port}"]
        message = refused(worker, vendors, f"{server.url}/out-0.webp")
    finally:
        server.close()
    assert "redirect" in message
    assert "authorization" not in server.requests[0].headers
    assert victim.requests == []


def _bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 2_000_000, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (answer(200, _bomb(30_000)), "pixels"),
        (answer(200, b"x" * 5000, content_type="image/webp"), "begin with b'xxxx"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"), "limit of"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08"), "begin with"),
    ],
    ids=["bomb", "wrong-type", "endless", "compressed"],
)
def test_hostile_bytes_are_refused(
    worker: Start, vendors: Vendors, settings: Settings, step: Any, why: str
) -> None:
    settings.GENERATION_MAX_ATTEMPTS = 1
    server = ScriptedServer()
    try:
        server.script(step)
        settings.REPLICATE_OUTPUT_HOSTS = [f"127.0.0.1:{server.port}"]
        assert why in refused(worker, vendors, f"{server.url}/out-0.webp")
    finally:
        server.close()
