"""What arrives over a real socket and a real server: chunks, wrong lengths, broken connections."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from webhooks.authentication import sign_alchemy_body
from webhooks.tests.sending import ALCHEMY_URL, block_event

pytestmark = pytest.mark.process

LIMIT = settings.WEBHOOK_MAX_BYTES
# Signed, well-formed and without an id: it is refused (400) before the database is needed.
NO_EVENT = json.dumps(block_event([], event_id="")).encode()


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """Start gunicorn on a socket of ours and return its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "gunicorn", "glisk.wsgi", "--bind",
                f"fd://{listener.fileno()}", "--workers", "1", "--threads", "2",
                "--log-level", "error", "--config", "/dev/null", "--graceful-timeout", "1",
            ],
            pass_fds=[listener.fileno()],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "glisk.tests.settings"},
        )  # fmt: skip
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.wait(timeout=20)


def exchange(port: int, *pieces: bytes, hang_up: bool = False) -> int:
    """Send the pieces of a request over one connection; return the reply's status, 0 for none."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(b"".join(pieces))
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            reply = connection.recv(4096)
        except ConnectionError:
            return 0
    return int(reply.split(b" ", 2)[1]) if reply else 0


def head(signed: bytes, *lines: str) -> bytes:
    signature = sign_alchemy_body(signed, settings.ALCHEMY_WEBHOOK_SECRETS[0])
    parts = [f"POST {ALCHEMY_URL} HTTP/1.1", "Host: 127.0.0.1", f"X-Alchemy-Signature: {signature}"]
    return "\r\n".join([*parts, "Connection: close", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_body_with_its_length_is_read(server_port: int) -> None:
    length = f"Content-Length: {len(NO_EVENT)}"
    assert exchange(server_port, head(NO_EVENT, length), NO_EVENT) == 400


def test_a_body_in_chunks_is_read_whole(server_port: int) -> None:
    half = len(NO_EVENT) // 2
    chunks = [chunk(NO_EVENT[:half]), chunk(NO_EVENT[half:]), b"0\r\n\r\n"]
    assert exchange(server_port, head(NO_EVENT, "Transfer-Encoding: chunked"), *chunks) == 400
    chunks[0] = chunk(b" " + NO_EVENT[:half])
    assert exchange(server_port, head(NO_EVENT, "Transfer-Encoding: chunked"), *chunks) == 401


def test_a_body_announced_as_too_large_is_refused_before_it_comes(server_port: int) -> None:
    assert exchange(server_port, head(b"", f"Content-Length: {LIMIT + 1}")) == 413


def test_chunks_without_an_end_are_refused_at_the_limit(server_port: int) -> None:
    pieces = [chunk(b"x" * 100_000)] * (LIMIT // 100_000) + [chunk(b"x")]
    assert exchange(server_port, head(b"", "Transfer-Encoding: chunked"), *pieces) == 413


def test_a_length_that_is_too_short_cuts_the_body_off(server_port: int) -> None:
    length = f"Content-Length: {len(NO_EVENT) - 5}"
    assert exchange(server_port, head(NO_EVENT, length), NO_EVENT) == 401


@pytest.mark.parametrize(
    "line", ["Content-Length: 100", "Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
def test_a_connection_that_breaks_off_is_no_fault_of_ours(server_port: int, line: str) -> None:
    status = exchange(server_port, head(NO_EVENT, line), b"40\r\n{", hang_up=True)
    assert status in (0, 400, 401)
