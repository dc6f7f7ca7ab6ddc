"""The intake's benchmark end to end, and the client it trusts, against a server of known delay."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.intake_client import Plan, Result, send_events
from benchmarks.tests.measuring import measured
from benchmarks.webhook_intake import percentile
from sandbox.alchemy.envelope import sign

pytestmark = pytest.mark.timeout(300)
KEY = "whsec_of_a_test"
DELAY_SECONDS = 0.05


class Recorder(ThreadingHTTPServer):
    """Answers after a known delay and keeps the bodies whose signature is right."""

    daemon_threads = True
    bodies: list[dict[str, Any]]
    status = 200
    together: threading.Barrier | None = None  # so many are answered at once, or none


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.together:
            self.server.together.wait(60)
        time.sleep(DELAY_SECONDS)
        if self.headers["X-Alchemy-Signature"] == sign(KEY, body):
            self.server.bodies.append(json.loads(body))
        answer = b'{"status":"processed"}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        # In two pieces: the answer is there when all of it is.
        self.wfile.write(answer[:5])
        self.wfile.flush()
        self.wfile.write(answer[5:])

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder(("127.0.0.1", 0), Handler) as server:
        server.bodies = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sent(server: Recorder, **changes: Any) -> Result:
    wallet = "0x" + "ab" * 20
    facts: dict[str, Any] = {
        "port": server.server_address[1],
        "signing_key": KEY,
        "contract": wallet,
        "minter": wallet,
        "prompt_author": wallet,
    }
    return send_events(Plan(**facts | changes))


def test_events_go_over_all_connections_at_once(server: Recorder) -> None:
    server.together = threading.Barrier(8)
    result = sent(server, events=24, connections=8)

    assert len(server.bodies) == len(result.latencies_ms) == 24
    assert min(result.latencies_ms) >= 1000 * DELAY_SECONDS
    assert result.seconds >= 3 * DELAY_SECONDS
    assert result.cpu_seconds < result.seconds
    assert not result.refused


def test_every_event_is_another_mint(server: Recorder) -> None:
    sent(server, events=10, first_token=100, quantity=50, connections=5)

    blocks = [body["event"]["data"]["block"] for body in server.bodies]
    logs = [block["logs"][0] for block in blocks]
    starts = sorted(int(log["topics"][3], 16) for log in logs)
    assert starts == [100 + 50 * number for number in range(10)]
    assert len({log["transaction"]["hash"] for log in logs}) == 10
    assert len({body["id"] for body in server.bodies}) == 10
    assert {int(log["data"][2:66], 16) for log in logs} == {50}


def test_an_event_that_is_due_waits_in_its_latency(server: Recorder) -> None:
    # One connection, and events due twice as often as it can answer.
    result = sent(server, events=6, connections=1, per_second=2 / DELAY_SECONDS)

    assert result.latencies_ms == sorted(result.latencies_ms)
    assert result.latencies_ms[-1] >= 1000 * 3.4 * DELAY_SECONDS


def test_a_rate_is_kept_where_the_server_can(server: Recorder) -> None:
    result = sent(server, events=10, connections=8, per_second=40)

    assert 9 / 40 + DELAY_SECONDS - 0.01 <= result.seconds < 60


def test_a_refusal_is_told(server: Recorder) -> None:
    server.status = 503

    assert len(sent(server, events=3, quantity=0).refused) == 3
    assert server.bodies[0]["event"]["data"]["block"]["logs"] == []


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.95) == 95
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7.0], 0.99) == 7


def test_the_intake_is_measured(tmp_path: Path) -> None:
    arguments = ["--events", "40", "--rounds", "2", "--batches", "4", "--reveal-seconds", "0.5"]

    figures, floor = measured("webhook_intake", *arguments, into=tmp_path / "intake.json")

    # Figure and floor are of different seconds: which one was better, the machine's load decides.
    assert figures["single_per_s"] > 5
    assert all(value > 0 for value in floor.values())
    assert figures["single_p50_ms"] < figures["single_p95_ms"]
    assert figures["batch50_p50_ms"] > 0.5  # one insert of 50 tokens is more than a commit
    assert figures["batch50_request_p50_ms"] > 0.5
    assert figures["during_reveal_p95_ms"] <= figures["during_reveal_p99_ms"]
    assert figures["client_cpu_ms_per_event"] < figures["web_cpu_ms_per_event"]
