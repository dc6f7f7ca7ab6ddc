"""Gateways and nodes that mean ill, or are ill: none is believed, none holds the reader."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from glisk.cid import compute_cid
from glisk.verify import sources
from glisk.verify.checks import Verdict, verify
from glisk.verify.sources import Gateway, Node, Unreachable
from glisk.verify.tests.test_alone import WALLET, a_bundle

IMAGE = b"an image"
CID = compute_cid(IMAGE, version=1)
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Return what starts a server that answers in one way, and says its URL."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(100):
        request.wfile.write(b".")
        time.sleep(0.05)


def flood(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"." * 65536)


def test_a_sound_gateway_is_read(serve: Callable[[Answer], str]) -> None:
    there = serve(send(IMAGE))
    assert Gateway(there).read(CID) == IMAGE
    assert Gateway(serve(send(b"", 302, {"Location": there}))).read(CID) == IMAGE


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (send(b"another image"), "sends other bytes than those of"),
        (send(IMAGE[:4], headers={"Content-Length": "8"}), "sends other bytes than those of"),
        (send(b"", 302, {"Location": "file:///etc/passwd"}), "not allowed"),
        (send(b"", 302, {"Location": "ftp://127.0.0.1/image"}), "unknown url type: ftp"),
        (send(b"", 404), "HTTP Error 404"),
        (drip, "takes longer than"),
        (flood, "sends more than 100,000 bytes"),
        (lambda request: request.connection.close(), "does not answer"),
    ],
)
def test_a_bad_gateway_says_nothing(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, answer: Answer, why: str
) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 100_000)
    monkeypatch.setattr(sources, "TIMEOUT_SECONDS", 0.3)
    with pytest.raises(Unreachable, match=why):
        Gateway(serve(answer)).read(CID)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8545", "", "http://[", "http://"])
def test_what_is_no_address_is_not_asked(url: str) -> None:
    with pytest.raises(Unreachable):
        Gateway(url).read(CID)


def test_keys_in_an_address_are_neither_shown_nor_looked_up() -> None:
    with pytest.raises(Unreachable, match=r"^127\.0\.0\.1 does not answer") as told:
        Node("http://127.0.0.1:1/v2/a-key").chain_id()
    assert "a-key" not in str(told.value)
    with pytest.raises(Unreachable, match="a user's name is not supported"):
        Node("http://name:word@127.0.0.1:1").chain_id()


RESULTS: list[object] = [None, "soon", [], {}, 5, {"status": "0x1", "logs": [{}]}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"error":{"message":"no"}}',
        *(json.dumps({"result": result}).encode() for result in RESULTS),
    ],
)
def test_nonsense_of_a_node_neither_proves_nor_accuses(
    serve: Callable[[Answer], str], body: bytes
) -> None:
    checks = list(verify(a_bundle(), gateway=None, node=Node(serve(send(body))), contract=WALLET))
    of_the_node = [check for check in checks if "node" in check.what or "on chain" in check.what]
    assert of_the_node
    right_chain = [check.what for check in of_the_node if check.verdict == Verdict.HOLDS]
    assert right_chain in ([], ["The node is of this chain"])
    assert Verdict.UNKNOWN in {check.verdict for check in of_the_node}
