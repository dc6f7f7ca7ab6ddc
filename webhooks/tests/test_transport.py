"""What arrives over a real socket and a real server: chunks, wrong lengths, broken connections."""

import json
import socket
from collections.abc import Callable

from django.conf import settings

from glisk.tests.web_server import WebServer, web
from webhooks.authentication import sign_alchemy_body
from webhooks.tests.sending import ALCHEMY_URL, block_event

__all__ = ["web"]

LIMIT = settings.WEBHOOK_MAX_BYTES
# Signed, well-formed and without an id: it is refused (400).
NO_EVENT = json.dumps(block_event([], event_id="")).encode()


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


def test_what_is_no_whole_body_is_no_fault_of_ours(web: Callable[..., WebServer]) -> None:
    port = web(WEB_WORKERS="1").port
    half = len(NO_EVENT) // 2
    chunked = "Transfer-Encoding: chunked"
    ends = [chunk(NO_EVENT[half:]), b"0\r\n\r\n"]
    endless = [chunk(b"x" * 100_000)] * (LIMIT // 100_000) + [chunk(b"x")]
    for status, what, line, pieces in (
        (400, "a body with its length", f"Content-Length: {len(NO_EVENT)}", [NO_EVENT]),
        (400, "a body in chunks", chunked, [chunk(NO_EVENT[:half]), *ends]),
        (401, "other chunks", chunked, [chunk(b" " + NO_EVENT[:half]), *ends]),
        (413, "a length beyond the limit", f"Content-Length: {LIMIT + 1}", []),
        (413, "chunks without an end", chunked, endless),
        (401, "a length that is too short", f"Content-Length: {len(NO_EVENT) - 5}", [NO_EVENT]),
    ):
        assert exchange(port, head(NO_EVENT, line), *pieces) == status, what
    for line in ("Content-Length: 100", chunked):
        status = exchange(port, head(NO_EVENT, line), b"40\r\n{", hang_up=True)
        assert status in (0, 400, 401)
