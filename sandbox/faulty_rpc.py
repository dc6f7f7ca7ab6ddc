"""A proxy in front of the node that answers like a bad provider: replies lost, late, or old.

    with FaultyRpc(node.rpc_url) as proxy:
        proxy.lose_replies(3, "eth_sendRawTransaction")  # the node has them, the caller never hears
        proxy.lag()                                      # nothing newer than now is known
        proxy.calm()

Chaos is for the program; whoever makes it talks to the node itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from sandbox.rpc import RpcClient

Call = dict[str, Any]


class FaultyRpc:
    """Listens on a free port of loopback while it is open; see `url`. Safe between threads."""

    def __init__(self, node_url: str, *, seed: int = 0) -> None:
        self._node = RpcClient(node_url)
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._lost: dict[str, int] = {}
        self._loss_rate = 0.0
        self._swallowed = 0
        self._receipts_after_seconds = 0.0
        self._first_asked: dict[str, float] = {}
        self._head: int | None = None
        self.seen: list[str] = []  # the methods, in order
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
        self._node.close()

    # -- switches -----------------------------------------------------------------------

    def lose_replies(self, count: int, method: str) -> None:
        """Hand the next calls of a method to the node, and hang up instead of answering."""
        with self._lock:
            self._lost[method] = count

    def lose_some(self, rate: float) -> None:
        """Lose this share of all replies, after the node has done its work."""
        self._loss_rate = rate

    def swallow(self, count: int) -> None:
        """Answer the next broadcasts as accepted, and tell the node nothing of them."""
        with self._lock:
            self._swallowed = count

    def delay_receipts(self, seconds: float) -> None:
        """Know no receipt for so long after the first question; the nonces are known at once."""
        with self._lock:
            self._receipts_after_seconds = seconds
            self._first_asked.clear()

    def lag(self) -> None:
        """Know nothing that comes after this moment."""
        self._head = int(self._node.call("eth_blockNumber"), 16)

    def calm(self) -> None:
        """Answer as the node does again."""
        with self._lock:
            self._lost.clear()
            self._loss_rate, self._swallowed, self._head = 0.0, 0, None
            self._receipts_after_seconds = 0.0

    # -- for the handler ----------------------------------------------------------------

    def loses(self, calls: list[Call]) -> bool:
        """Decide whether the reply to these calls is lost."""
        with self._lock:
            self.seen += [str(call.get("method")) for call in calls]
            for call in calls:
                left = self._lost.get(str(call.get("method")), 0)
                if left:
                    self._lost[str(call.get("method"))] = left - 1
                    return True
            return self._random.random() < self._loss_rate

    def swallows(self, call: Call) -> bool:
        with self._lock:
            if call.get("method") != "eth_sendRawTransaction" or not self._swallowed:
                return False
            self._swallowed -= 1
            return True

    def rewrite(self, call: Call) -> Call:
        """Ask for the head of a node that lags instead of the newest block."""
        head = self._head
        if head is None:
            return call
        params = [hex(head) if param == "latest" else param for param in call.get("params", [])]
        return {**call, "params": params}

    def censor(self, call: Call, result: Any) -> Any:
        """Return what a bad node says where this one answered `result`."""
        method = call.get("method")
        if method == "eth_getTransactionReceipt":
            return None if self._is_hidden(str(call["params"][0]), result) else result
        number = result.get("number") if isinstance(result, dict) else None
        if method == "eth_getBlockByNumber" and self._is_beyond(number):
            return None
        return result

    def _is_hidden(self, tx_hash: str, receipt: Any) -> bool:
        if not isinstance(receipt, dict):
            return False
        with self._lock:
            since = self._first_asked.setdefault(tx_hash, time.monotonic())
            late = time.monotonic() - since < self._receipts_after_seconds
        return late or self._is_beyond(receipt.get("blockNumber"))

    def _is_beyond(self, number: Any) -> bool:
        head = self._head
        return head is not None and isinstance(number, str) and int(number, 16) > head


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultyRpc
    node: str


class _Handler(BaseHTTPRequestHandler):
    """One kept-alive connection of the program; the node is asked anew each time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        calls: list[Call] = body if isinstance(body, list) else [body]
        proxy = self.server.proxy
        try:
            answers = [self._answer(call) for call in calls]
        except (OSError, http.client.HTTPException):  # the node is away
            self.close_connection = True
            return
        if proxy.loses(calls):
            self.close_connection = True
            return
        content = json.dumps(answers if isinstance(body, list) else answers[0]).encode()
        with contextlib.suppress(ConnectionError):  # the program was killed meanwhile
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _answer(self, call: Call) -> Call:
        proxy = self.server.proxy
        if proxy.swallows(call):
            return {"jsonrpc": "2.0", "id": call.get("id"), "result": "0x" + "00" * 32}
        answer = self._ask(proxy.rewrite(call))
        if "result" in answer:
            answer["result"] = proxy.censor(call, answer["result"])
        return answer

    def _ask(self, call: Call) -> Call:
        node = http.client.HTTPConnection(self.server.node, timeout=30)
        try:
            node.request("POST", "/", json.dumps(call), {"Content-Type": "application/json"})
            answer: Call = json.loads(node.getresponse().read())
            return answer
        finally:
            node.close()

    def log_message(self, *_args: object) -> None:
        pass
