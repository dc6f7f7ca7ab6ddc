"""Bodies that never come leave room for probes, pages and whole requests."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from glisk.tests.web_server import WebServer, web
from glisk.timing import timing
from glisk.web import MOST_BODIES, BodyPlaces

__all__ = ["web"]

HALF = 150
REQUESTS = (
    b"POST /webhooks/alchemy HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    b"X-Alchemy-Signature: 00\r\n\r\n{",
    b"POST /api/authors/prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    b"Content-Type: application/json\r\n\r\n{",
    b"POST /webhooks/alchemy HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"X-Alchemy-Signature: 00\r\n\r\n3e8\r\n{",
)


def answers(connections: list[socket.socket]) -> list[bytes]:
    """Return what was answered so far; b"" where nothing was."""
    found = []
    for connection in connections:
        connection.setblocking(False)
        try:
            found.append(connection.recv(65_536, socket.MSG_PEEK))
        except BlockingIOError:
            found.append(b"")
    return found


def test_half_sent_bodies_leave_room_for_everything_else(web: Callable[..., WebServer]) -> None:
    server = web(WEB_WORKERS="1", WEB_THREADS="2", WEB_STREAMS="0")
    with ExitStack() as stack:
        halves = []
        for number in range(HALF):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            half.sendall(REQUESTS[number % len(REQUESTS)])
            halves.append(half)
        deadline = time.monotonic() + 60
        while sum(map(bool, answers(halves))) < HALF - MOST_BODIES:
            assert time.monotonic() < deadline
            assert server.get("/health")[0] == 200
        refused = [answer for answer in answers(halves) if answer]
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
        assert all(b"Retry-After: 5" in answer for answer in refused)
        assert server.get("/health")[0] == 200
        assert server.get("/api/authors/leaderboard")[0] == 200


@pytest.mark.parametrize("way", ["read", "readline"])
def test_a_body_that_nothing_comes_of_is_given_up(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(timing, "body_silence", 0.05)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        read = getattr(environ["wsgi.input"], way)
        assert read(1) == b"{"
        with pytest.raises(TimeoutError):
            read(1)
        return [b"given up"]

    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb", buffering=0) as incoming:
        theirs.sendall(b"{")
        environ = {"CONTENT_LENGTH": "9", "wsgi.input": incoming, "gunicorn.socket": ours}
        assert list(BodyPlaces(application)(environ, None)) == [b"given up"]
        ours.settimeout(60)
        assert ours.recv(1) == b""  # gunicorn waits for nothing more on this connection
