"""The client and the proxy that the figures are trusted to, against a server of known delay."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from benchmarks.client import get, send
from benchmarks.recovery import RpcProxy, Traffic

DELAY_SECONDS = 0.05


class Recorder(ThreadingHTTPServer):
    """Answers after a known delay."""

    daemon_threads = True
    paths: list[str]
    status = 200
    together: threading.Barrier | None = None  # so many are answered at once, or none


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_GET(self) -> None:
        self.answer(b'{"status":"processed"}')

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        if self.server.together:
            self.server.together.wait(60)
        time.sleep(DELAY_SECONDS)
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # In two pieces: the answer is there when all of it is.
        self.wfile.write(body[:5])
        self.wfile.flush()
        self.wfile.write(body[5:])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(("127.0.0.1", 0), Handler) as server:
        server.paths = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def questions(server: Recorder, number: int) -> tuple[list[bytes], int]:
    port = server.server_address[1]
    return [get(f"/{n}", port) for n in range(number)], port


def test_requests_go_over_all_connections_at_once(server: Recorder) -> None:
    server.together = threading.Barrier(8)
    asked, port = questions(server, 24)
    result = send(asked, port=port, connections=8)

    assert sorted(server.paths) == sorted(f"/{n}" for n in range(24))
    assert len(result.latencies_ms) == 24
    assert min(result.latencies_ms) >= 1000 * DELAY_SECONDS
    assert result.seconds >= 3 * DELAY_SECONDS


def test_a_request_that_is_due_waits_in_its_latency(server: Recorder) -> None:
    # One connection, and requests due twice as often as it can answer.
    asked, port = questions(server, 6)
    result = send(asked, port=port, per_second=2 / DELAY_SECONDS)

    assert result.latencies_ms == sorted(result.latencies_ms)
    assert result.latencies_ms[-1] >= 1000 * 3.4 * DELAY_SECONDS


def test_a_rate_is_kept_where_the_server_can(server: Recorder) -> None:
    asked, port = questions(server, 10)
    result = send(asked, port=port, connections=8, per_second=40)

    assert 9 / 40 + DELAY_SECONDS - 0.01 <= result.seconds < 60


def test_a_refusal_is_told(server: Recorder) -> None:
    server.status = 503
    asked, port = questions(server, 3)

    with pytest.raises(RuntimeError, match="503"):
        send(asked, port=port)


def test_requests_to_a_node_and_the_calls_in_them_are_counted(server: Recorder) -> None:
    one = {"method": "eth_chainId"}
    with RpcProxy(f"http://127.0.0.1:{server.server_address[1]}") as proxy:
        with requests.Session() as session:
            assert session.post(proxy.url, json=one, timeout=60).json() == one
            assert session.post(proxy.url, json=[one] * 7, timeout=60).json() == [one] * 7
        seen = proxy.take()
        assert (seen.requests, seen.calls) == (2, 8)
        assert 2 * DELAY_SECONDS <= seen.node_seconds < 60
        assert proxy.take() == Traffic()
