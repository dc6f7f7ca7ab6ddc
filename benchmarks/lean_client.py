"""A client that is no bottleneck: prepared requests over kept-alive sockets, by one thread.

    python -m benchmarks.lean_client < plan.json

Everything is built before the first byte is sent; then one selector moves bytes. It says what it
cost itself, so that nobody takes its work for the server's.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.world import BASE_DIR

_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_TIMEOUT_SECONDS = 600


@dataclass
class Result:
    """Latencies in the order of the answers, in ms; `cpu_seconds` is the client's own."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

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


def send_requests(
    requests: Sequence[bytes], *, port: int, connections: int, per_second: float = 0.0
) -> Result:
    """Send all requests and return when each is answered.

    `per_second` 0 sends the next one as soon as a connection is free, else requests are due at
    that rate and their latency counts from then, whether or not a connection was free.
    """
    lines = [_Line(port) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for line in lines:
        selector.register(line.socket, selectors.EVENT_READ, line)
    result = Result()
    free, sent, answered = list(lines), 0, 0
    cpu, start = time.process_time(), time.perf_counter()
    while answered < len(requests):
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
                    result.refused.append(answer.decode(errors="replace"))
                free.insert(0, busy)
                answered += 1
    result.seconds = time.perf_counter() - start
    result.cpu_seconds = time.process_time() - cpu
    for line in lines:
        line.socket.close()
    return result


def run_apart(module: str, plan: dict[str, Any]) -> Result:
    """Have a client's module send its plan from a process of its own.

    Raises `RuntimeError` if it fails, or if a request is not answered with 200.
    """
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=BASE_DIR, input=json.dumps(plan), capture_output=True, text=True,
        timeout=_TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the client failed:\n{done.stderr[-2000:]}")
    result = Result(**json.loads(done.stdout))
    if result.refused:
        raise RuntimeError(f"{len(result.refused)} requests were refused:\n{result.refused[0]}")
    return result


def read(paths: Sequence[str], *, port: int, connections: int, per_second: float) -> Result:
    """GET the paths in their order from a process of its own. Raises `RuntimeError`."""
    plan = {
        "paths": list(paths),
        "port": port,
        "connections": connections,
        "per_second": per_second,
    }
    return run_apart("benchmarks.lean_client", plan)


def main() -> int:
    """Read a plan of GET requests from stdin, write the result to stdout."""
    plan = json.load(sys.stdin)
    port = plan["port"]
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode()
        for path in plan.pop("paths")
    ]
    json.dump(asdict(send_requests(requests, **plan)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
