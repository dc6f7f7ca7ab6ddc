"""How the health benchmark asks: every page in turn, no refusal unnoticed, nobody left frozen."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from benchmarks.health import PAGES, asked, frozen


@contextmanager
def server(statuses: dict[str, int], seen: threading.Event) -> Iterator[int]:
    """Answer with 200 or what is given; `seen` is set once every page was asked for twice."""
    asked_for: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked_for.append(self.path)
            self.send_response(statuses.get(self.path, 200))
            self.send_header("Content-Length", "0")
            self.end_headers()
            if all(asked_for.count(page) > 1 for page in PAGES):
                seen.set()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        http_server.daemon_threads = True
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        try:
            yield http_server.server_port
        finally:
            http_server.shutdown()
            thread.join()


def test_every_page_is_asked_until_the_work_ends() -> None:
    seen = threading.Event()
    with server({}, seen) as port:
        latencies = asked(port, lambda: seen.wait(20))
    assert list(latencies) == list(PAGES)
    assert all(len(found) >= 2 and min(found) > 0 for found in latencies.values())


def test_a_refusal_ends_the_measurement() -> None:
    seen = threading.Event()
    refusing = server({"/health/keeper": 503}, seen)
    with refusing as port, pytest.raises(RuntimeError, match="/health/keeper answered 503"):
        asked(port, lambda: seen.wait(20))


def freeze_and_fail(pid: int) -> None:
    with frozen(pid):
        deadline = time.monotonic() + 20
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        raise ValueError("in between")


def test_what_was_frozen_goes_on_whatever_happens() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with pytest.raises(ValueError, match="in between"):
            freeze_and_fail(process.pid)
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 0
