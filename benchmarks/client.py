"""A client that is no bottleneck: prepared requests over kept-alive sockets, by one thread.

Everything is built before the first byte is sent; then one selector moves bytes. It says what it
cost itself, so that nobody takes its work for the server's.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass
class Result:
    """Latencies in the order of the answers, in ms; `cpu_seconds` is the client's own."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds


class _Line:
    """One kept-alive connection; at most one request is on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._received = b""

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._received = b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the whole answer once it is there. Raises `ConnectionError` if it is cut off."""
        piece = self.socket.recv(65_536)
        if not piece:
            raise ConnectionError("the server hung up")
        self._received += piece
        headers, found, body = self._received.partition(_END_OF_HEADERS)
        if not found:
            return None
        length = headers.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        return self._received if len(body) >= int(length or 0) else None


def get(path: str, port: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()


def send(
    requests: Sequence[bytes], *, port: int, connections: int = 1, per_second: float = 0.0
) -> Result:
    """Send all requests and return when each is answered. Raises `RuntimeError` if one is refused.

    `per_second` 0 sends the next one as soon as a connection is free, else requests are due at
    that rate and their latency counts from then, whether or not a connection was free.
    """
    lines = [_Line(port) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    result = Result()
    free, sent = list(lines), 0
    cpu, start = time.process_time(), time.perf_counter()
    try:
        while len(result.latencies_ms) < len(requests):
            now = time.perf_counter()
            due = start + sent / per_second if per_second else now
            while free and sent < len(requests) and due <= now:
                free.pop().send(requests[sent], due)
                sent += 1
                due = start + sent / per_second if per_second else now
            pause = max(0.0, due - now) if free and sent < len(requests) else 30.0
            for key, _ in selector.select(pause):
                busy: _Line = key.data
                if (answer := busy.receive()) is not None:
                    result.latencies_ms.append(1000 * (time.perf_counter() - busy.due))
                    if not answer.startswith(b"HTTP/1.1 200 "):
                        raise RuntimeError(f"refused: {answer.decode(errors='replace')}")
                    free.insert(0, busy)
        result.seconds = time.perf_counter() - start
        result.cpu_seconds = time.process_time() - cpu
    finally:
        selector.close()
        for line in lines:
            line.socket.close()
    return result
