"""A server between a program and its node; what it does with a request says its handler."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class RpcRelay:
    """Listens on a free port of loopback while it is open; see `url`. Safe between threads."""

    def __init__(self, node_url: str, handler: type[RelayHandler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.relay = self
        self._server.node = urlsplit(node_url).netloc
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    relay: Any  # the RpcRelay, as its handlers know it
    node: str


class RelayHandler(BaseHTTPRequestHandler):
    """One kept-alive connection of the program, with one of its own to the node."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._node = http.client.HTTPConnection(self.server.node, timeout=60)

    def finish(self) -> None:
        self._node.close()
        super().finish()

    def do_POST(self) -> None:
        self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    def pass_on(self, body: bytes) -> None:
        """Do what this server is for with one request of the program."""
        raise NotImplementedError

    def ask(self, body: bytes) -> bytes:
        """Return the node's answer; raises `OSError` or `HTTPException` while it is away."""
        self._node.request("POST", "/", body, {"Content-Type": "application/json"})
        return self._node.getresponse().read()

    def answer(self, content: bytes, *, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""
