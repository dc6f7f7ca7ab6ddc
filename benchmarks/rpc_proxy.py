"""A proxy in front of the node: counts what is asked, and answers as late as a far provider."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Traffic:
    """Requests over HTTP, the JSON-RPC calls in them, and the node's own seconds for them."""

    requests: int = 0
    calls: int = 0
    node_seconds: float = 0.0


class RpcProxy:
    """Listens on a free port of loopback while it is open; see `url`."""

    def __init__(self, node_url: str) -> None:
        self.delay_seconds = 0.0
        self._lock = threading.Lock()
        self._traffic = Traffic()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
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

    def take(self) -> Traffic:
        """Return what went by since the last call."""
        with self._lock:
            seen, self._traffic = self._traffic, Traffic()
            return seen

    def count(self, calls: int, node_seconds: float) -> None:
        with self._lock:
            seen = self._traffic
            self._traffic = Traffic(
                seen.requests + 1, seen.calls + calls, seen.node_seconds + node_seconds
            )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: RpcProxy
    node: str


class _Handler(BaseHTTPRequestHandler):
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
        body = self.rfile.read(int(self.headers["Content-Length"]))
        started = time.perf_counter()
        self._node.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = self._node.getresponse()
        content = answer.read()
        proxy = self.server.proxy
        asked = json.loads(body)
        proxy.count(len(asked) if isinstance(asked, list) else 1, time.perf_counter() - started)
        time.sleep(proxy.delay_seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: object) -> None:
        pass
