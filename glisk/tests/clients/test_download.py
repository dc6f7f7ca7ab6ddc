"""Downloads of generated images: what is fetched, and what is refused."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address
from typing import Any

import pytest

from glisk.clients.image_download import (
    download_output,
    is_allowed_host,
    is_ours_or_public,
    is_public,
)
from glisk.errors import ArtefactError, PermanentError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    answer,
    drip,
    hang_up,
    raw,
)

REPLICATE = ["replicate.delivery", "*.replicate.delivery"]
FORBIDDEN_URLS = [
    "https://evil.example/out.webp", "https://replicate.delivery.evil.example/out.webp",
    "https://evilreplicate.delivery/out.webp",
    "https://replicate.delivery@evil.example/out.webp",
    "https://user:pw@replicate.delivery/out.webp", "http://replicate.delivery/out.webp",
    "https://replicate.delivery:8443/out.webp", "https://replicate.delivery:x/out.webp",
    "ftp://replicate.delivery/out.webp", "file:///etc/passwd", "data:image/png;base64,AAAA",
    "//replicate.delivery/x", "https:///x", "https://[::1", "http://127.0.0.1/x",
    "http://localhost/x", "https://2130706433/x", "nothing",
]  # fmt: skip
NOT_PUBLIC = [
    "10.0.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:0a00:0001::1",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "::10.0.0.1", "::127.0.0.1", "::ffff:0:10.0.0.1",
    "fec0::1", "2001:db8::1", "2001:0:53aa:64c:0:0:f5ff:fffe",
]  # fmt: skip


def fetch(server: ScriptedServer, path: str = "/xezq/t/out-0.webp", **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "allowed_hosts": ["127.0.0.1"],
        "max_bytes": 1000,
        "timeout": 2.0,
    }
    return download_output(server.url + path, **(given | changes))


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> list[str]:
    """Let every name resolve to these; return the names and ports that are asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(f"{host}:{port}")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, own or port))
            for address, own in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def failure(server: ScriptedServer, **changes: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        fetch(server, **changes)
    return caught.value


def refusal(url: str, hosts: list[str]) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        download_output(url, allowed_hosts=hosts, max_bytes=10, timeout=1)
    assert caught.value.code == "forbidden_url"
    return caught.value


class TestTheBytes:
    def test_are_returned_whole_and_no_token_is_sent(self, server: ScriptedServer) -> None:
        data = bytes(range(256)) * 3
        server.script(answer(200, data))
        assert fetch(server, "/a/out-0.webp?x=1") == data
        seen = server.requests[0]
        assert (seen.method, seen.target) == ("GET", "/a/out-0.webp?x=1")
        assert "authorization" not in seen.headers and "cookie" not in seen.headers

    def test_may_come_without_a_length(self, server: ScriptedServer) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        chunks = b"4\r\nall \r\n5\r\nof it\r\n0\r\n\r\n"
        server.script(
            raw(head + b"\r\nall of it"), raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        )
        assert fetch(server) == fetch(server) == b"all of it"

    def test_beyond_the_limit_are_refused(self, server: ScriptedServer) -> None:
        server.script(answer(200, b"x" * 1000))
        assert len(fetch(server, max_bytes=1000)) == 1000
        chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
        for step in (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"),
            raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000),
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3),
        ):
            server.script(step)
            error = failure(server)
            assert type(error) is ArtefactError and error.code == "too_large"


class TestAnInterruptedTransfer:
    def test_is_transient(self, server: ScriptedServer) -> None:
        for step in (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 100),
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nxx"),
            raw(b"nonsense\r\n\r\n"),
            hang_up(),
        ):
            server.script(step)
            error = failure(server)
            assert type(error) is TransientError and error.code == "connection"

    @pytest.mark.parametrize("headers", [b"X-Slow: yes\r\n" * 50, b"\r\n" + b"x" * 500])
    def test_ends_when_its_whole_time_is_over(self, server: ScriptedServer, headers: bytes) -> None:
        server.script(drip(b"HTTP/1.1 200 OK\r\n" + headers, pause_seconds=0.02))
        began = time.monotonic()
        error = failure(server, timeout=0.4)
        assert type(error) is TransientError and error.code == "timeout"
        assert time.monotonic() - began < 8  # all of it would take 10 s


class TestAStatus:
    def test_says_whether_it_may_pass(self, server: ScriptedServer) -> None:
        for status in (404, 408, 429, 500, 503):
            server.script(answer(status, b"", retry_after="7"))
            error = failure(server)
            assert type(error) is TransientError and error.retry_after_seconds == 7
            assert error.rate_limited is (status == 429)
        server.requests.clear()
        elsewhere = "http://169.254.169.254/latest/meta-data"
        for status in (204, 301, 302, 403, 410):
            server.script(answer(status, b"", Location=elsewhere))
            assert type(failure(server)) is PermanentError
        assert len(server.requests) == 5  # no redirect is followed


class TestAUrl:
    def test_outside_the_allow_list_is_refused(self) -> None:
        for url in FORBIDDEN_URLS:
            refusal(url, REPLICATE)

    def test_of_loopback_needs_the_port_that_the_setting_names(
        self, server: ScriptedServer
    ) -> None:
        server.script(answer(200, b"ok"))
        assert fetch(server, allowed_hosts=[f"127.0.0.1:{server.port}"]) == b"ok"
        refusal(server.url + "/x", [f"127.0.0.1:{server.port + 1}"])

    def test_with_a_forged_request_line_is_refused(self, server: ScriptedServer) -> None:
        for path in ("/a b", "/a\x7f", "/ü"):
            refusal(server.url + path, ["127.0.0.1"])
        assert server.requests == []

    def test_matches_wildcards_by_whole_labels(self) -> None:
        for host in ("replicate.delivery", "tjzk.replicate.delivery", "a.b.replicate.delivery"):
            assert is_allowed_host(host, 443, REPLICATE)
        for host in (".replicate.delivery", "replicate.delivery.", "xreplicate.delivery"):
            assert not is_allowed_host(host, 443, REPLICATE)


class TestAnAddress:
    def test_is_judged_by_what_it_is_and_by_how_its_host_is_named(self) -> None:
        own = ["10.0.0.1", "172.18.0.4", "192.168.1.9", "fd00::7"]
        public = ["104.18.0.1", "2606:4700::1", "64:ff9b::6812:1", "::ffff:104.18.0.1"]
        near = ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1"]
        for addresses, rule, allowed in (
            (NOT_PUBLIC, is_public, False),
            (public, is_public, True),
            (own + public, is_ours_or_public, True),
            (near, is_ours_or_public, False),
        ):
            for address in addresses:
                assert rule(ip_address(address)) is allowed, (address, rule)

    def test_of_a_server_of_our_own_is_for_the_named_port_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolved = resolve_to(monkeypatch, ("10.0.0.9", 0))

        def connect(*arguments: object) -> None:
            raise ConnectionRefusedError

        monkeypatch.setattr("glisk.clients.image_download._connect", connect)
        refusal("http://images.internal:5001/out.webp", ["images.internal:5000"])
        refusal("http://images.internal/out.webp", ["images.internal:5000", "images.internal"])
        assert resolved == []
        with pytest.raises(TransientError):  # allowed, but nobody is there
            download_output(
                "http://images.internal:5000/out.webp",
                allowed_hosts=["images.internal:5000"],
                max_bytes=10,
                timeout=0.3,
            )
        assert resolved == ["images.internal:5000"]

    def test_inside_our_network_behind_an_allowed_name_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One private address among public ones is enough: it is an attempt at rebinding."""
        resolve_to(monkeypatch, ("104.18.0.1", 0), ("169.254.169.254", 0))
        refusal("https://x.replicate.delivery/out.webp", REPLICATE)
        resolve_to(monkeypatch, ("10.0.0.1", 0))
        refusal("http://localhost/out.webp", ["localhost"])

    def test_that_was_checked_is_the_one_that_is_connected_to(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that is resolved a second time could lead elsewhere."""
        elsewhere = ScriptedServer("127.0.0.2")
        resolve_to(monkeypatch, ("127.0.0.2", 0))
        elsewhere.script(answer(200, b"ok"))
        try:
            assert fetch(elsewhere) == b"ok"
        finally:
            elsewhere.close()
        assert elsewhere.requests[0].headers["host"] == f"127.0.0.1:{elsewhere.port}"

    def test_that_does_not_answer_gives_way_to_the_next(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.2", 0)) as taken:
            closed = taken.getsockname()
        resolve_to(monkeypatch, closed, ("127.0.0.1", server.port))
        server.script(answer(200, b"ok"))
        assert fetch(server) == b"ok"

    @pytest.mark.usefixtures("no_dns")
    def test_of_an_unknown_name_is_transient(self) -> None:
        for host in ("no-such.invalid", "a" * 70 + ".invalid"):
            with pytest.raises(TransientError) as caught:
                download_output(
                    f"https://{host}/x", allowed_hosts=["*.invalid"], max_bytes=10, timeout=2
                )
            assert caught.value.code == "dns"
