"""The recovery's benchmark end to end, and the proxy that counts for it."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.rpc_proxy import RpcProxy, Traffic
from benchmarks.tests.measuring import measured

pytestmark = pytest.mark.timeout(300)
NODE_SECONDS = 0.02


class Echo(BaseHTTPRequestHandler):
    """A node that answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(NODE_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[RpcProxy]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as node:
        node.daemon_threads = True
        thread = threading.Thread(target=node.serve_forever)
        thread.start()
        with RpcProxy(f"http://127.0.0.1:{node.server_address[1]}") as proxy:
            yield proxy
        node.shutdown()
        thread.join()


def test_requests_and_the_calls_in_them_are_counted(proxy: RpcProxy) -> None:
    with requests.Session() as session:
        one = {"method": "eth_chainId"}
        assert session.post(proxy.url, json=one, timeout=60).json() == one
        assert session.post(proxy.url, json=[one] * 7, timeout=60).json() == [one] * 7

    seen = proxy.take()
    assert (seen.requests, seen.calls) == (2, 8)
    assert 2 * NODE_SECONDS <= seen.node_seconds < 60
    assert proxy.take() == Traffic()


def test_every_answer_is_late_by_the_delay(proxy: RpcProxy) -> None:
    proxy.delay_seconds = 0.2
    started = time.monotonic()
    with requests.Session() as session:
        session.post(proxy.url, json={}, timeout=60)
        session.post(proxy.url, json={}, timeout=60)

    passed = time.monotonic() - started
    assert passed >= 0.4
    # The node is not blamed for it.
    assert proxy.take().node_seconds <= passed - 0.4


def test_the_recovery_is_measured(tmp_path: Path) -> None:
    arguments = ["--tokens", "60", "--rounds", "1", "--rows", "20000"]

    figures, floor = measured("recovery", *arguments, into=tmp_path / "recovery.json")

    assert 0 < figures["tokens_per_s_at_50ms"] < floor["tokens_per_s_at_50ms"]
    assert 0 < figures["tokens_per_s"] < floor["tokens_per_s"]
    # Each of these requests was late.
    assert figures["tokens_per_s_at_50ms"] < 60 / (0.05 * figures["rpc_calls"])
    assert 1 <= figures["second_run_calls"] <= 3
    assert figures["rpc_batch_members"] >= figures["rpc_calls"] >= figures["second_run_calls"]
    # Measured one after the other: the load decides which of them took longer.
    assert figures["gap_query_ms_at_1m"] > 0
    assert floor["gap_query_ms_at_1m"] > 0
