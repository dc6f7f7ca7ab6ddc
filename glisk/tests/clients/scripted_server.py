"""A real HTTP server on loopback that answers by script, one step per request.

It is written on bare sockets because the interesting answers are those that no HTTP library
would send: cut-off bodies, resets after the request was read, single bytes with pauses.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from glisk.clients.http import HttpClient
from glisk.errors import ProviderError


@dataclass(frozen=True)
class SeenRequest:
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int  # counts the accepted connections from 1

    @property
    def json(self) -> Any:
        return json.loads(self.body)


# Answers one request; returns whether the connection stays open.
Step = Callable[["ScriptedServer", socket.socket], bool]


def answer(status: int, body: bytes | str | Mapping[str, Any] = b"", **headers: str) -> Step:
    """Answer properly; header names are written with underscores for hyphens."""
    payload = _payload(body)
    kind = "application/json" if isinstance(body, Mapping) else "application/octet-stream"
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(payload)}"]
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    lines += [f"{name}: {value}" for name, value in ({"Content-Type": kind} | given).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + payload, close=False)


def _payload(body: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(body, Mapping):
        return json.dumps(body).encode()
    return body.encode() if isinstance(body, str) else body


def raw(data: bytes, *, close: bool = True) -> Step:
    """Send exactly these bytes."""

    def step(_server: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(data)
        return not close

    return step


def reset() -> Step:
    """Read the request, then reset the connection."""

    def step(_server: ScriptedServer, connection: socket.socket) -> bool:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return step


def hang_up() -> Step:
    """Read the request, then close without a word."""
    return raw(b"")


def silence() -> Step:
    """Read the request and say nothing until the test is over."""

    def step(server: ScriptedServer, _connection: socket.socket) -> bool:
        server.over.wait(10)
        return False

    return step


def drip(data: bytes, *, pause_seconds: float) -> Step:
    """Send one byte at a time."""

    def step(server: ScriptedServer, connection: socket.socket) -> bool:
        for value in data:
            connection.sendall(bytes([value]))
            if server.over.wait(pause_seconds):
                return False
        return False

    return step


class ScriptedServer:
    """Takes the steps in order; a request without a step is answered with 599."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.requests: list[SeenRequest] = []
        self.over = threading.Event()
        self.accepted = 0
        self._steps: deque[Step] = deque()
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self, count: int) -> list[SeenRequest]:
        """Return the requests once there are so many: a thread of their own reads them."""
        deadline = time.monotonic() + 60
        while len(self.requests) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self.requests)

    def script(self, *steps: Step) -> None:
        self._steps.extend(steps)

    def close(self) -> None:
        if self.over.is_set():
            return
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._open.append(connection)
                number = self.accepted
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as reader:
                while (seen := self._read(reader, number)) is not None:
                    with self._lock:
                        self.requests.append(seen)
                        step = self._steps.popleft() if self._steps else answer(599)
                    if not step(self, connection):
                        # The reader holds the socket open as well.
                        reader.close()
                        return
        except (OSError, ValueError):  # gone, or not HTTP (a TLS greeting)
            return

    def _read(self, reader: Any, number: int) -> SeenRequest | None:
        line = reader.readline().decode().split()
        if len(line) != 3:
            return None
        headers: dict[str, str] = {}
        while header := reader.readline().decode("latin-1").strip():
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", "0")))
        return SeenRequest(line[0], line[1], headers, body, number)


def failure(client: HttpClient, *, idempotent: bool = True, max_bytes: int = 1000) -> ProviderError:
    """Return the error of a call that does not succeed."""
    with pytest.raises(ProviderError) as caught:
        client.call("POST", "/thing", idempotent=idempotent, json_body={}, max_bytes=max_bytes)
    return caught.value
