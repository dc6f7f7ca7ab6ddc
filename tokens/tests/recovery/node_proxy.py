"""A real HTTP server before a real node, which a test lets answer as bad providers do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

# (method, parameters, the node's answer) → the answer that is given, or DROP.
Alter = Callable[[str, list[Any], dict[str, Any]], Any]
DROP = object()


class HttpAnswer(Exception):
    """Raised instead of an answer: the whole request gets this status and body."""

    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body


class NodeProxy:
    def __init__(self, rpc_url: str) -> None:
        self.alter: Alter = lambda method, params, answer: answer
        self.requests: list[list[str]] = []  # the methods of each HTTP request
        self.log_ranges: list[tuple[int, int]] = []
        self._node_url = rpc_url
        self._session = requests.Session()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # header and body in one piece: the peer need not wait

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                try:
                    status, body = 200, proxy.answer(json.loads(self.rfile.read(length)))
                except HttpAnswer as other:
                    status, body = other.status, other.body
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._session.close()

    def reset(self) -> None:
        """Be the node as it is, and forget what was asked."""
        self.alter = lambda method, params, answer: answer
        self.requests.clear()
        self.log_ranges.clear()

    def answer(self, asked: Any) -> Any:
        """Return the answer to a call, or to a batch of them; may raise `HttpAnswer`."""
        calls = asked if isinstance(asked, list) else [asked]
        self.requests.append([call["method"] for call in calls])
        for call in calls:
            if call["method"] == "eth_getLogs":
                options = call["params"][0]
                self.log_ranges.append((int(options["fromBlock"], 16), int(options["toBlock"], 16)))
        answers = self._session.post(self._node_url, json=calls, timeout=30).json()
        by_id = {answer["id"]: answer for answer in answers}
        altered = [self.alter(call["method"], call["params"], by_id[call["id"]]) for call in calls]
        given = [answer for answer in altered if answer is not DROP]
        return given if isinstance(asked, list) else given[0]


def no_logs_at_all(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
    """Refuse every call for logs, as nodes that keep none do."""
    refusal = {"code": -32601, "message": "the method eth_getLogs is not available"}
    if method != "eth_getLogs":
        return answer
    return {"jsonrpc": "2.0", "id": answer["id"], "error": refusal}
