"""A receiver of webhooks for tests: it keeps what came and answers as it is told."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sandbox.alchemy.emulator import SANDBOX_SIGNING_KEY, sign


@dataclass(frozen=True)
class Received:
    at: float
    body: bytes
    signature: str

    @property
    def is_genuine(self) -> bool:
        return self.signature == sign(SANDBOX_SIGNING_KEY, self.body)

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.body)
        return message

    @property
    def block(self) -> dict[str, Any]:
        block: dict[str, Any] = self.message["event"]["data"]["block"]
        return block


@dataclass
class Receiver:
    """`statuses` are answered first, in order; then 401 to what is not genuine, else 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    delay_seconds: float = 0.0
    received: list[Received] = field(default_factory=list)

    @property
    def genuine(self) -> list[Received]:
        return [one for one in self.received if one.is_genuine]

    def block_numbers(self) -> list[int]:
        return [one.block["number"] for one in self.genuine]

    def wait_for(self, count: int) -> list[Received]:
        """Return what came once there are `count` of them; fail when they do not come."""
        deadline = time.monotonic() + 60
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} webhooks came"
            time.sleep(0.005)
        return list(self.received)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if "X-Alchemy-Signature" not in self.headers:
                self.close_connection = True  # Some other program's call to a port's last owner.
                return
            one = Received(time.time(), body, self.headers["X-Alchemy-Signature"])
            receiver.received.append(one)
            time.sleep(receiver.delay_seconds)
            status = 200 if one.is_genuine else 401
            if receiver.statuses:
                status = receiver.statuses.pop(0)
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except OSError:
                self.close_connection = True  # The sender gave up waiting.

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/webhooks/alchemy"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
