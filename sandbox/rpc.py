"""Speak with a node: calls, and news of its blocks by a websocket subscription.

The node's upkeep and the Alchemy emulator make a handful of calls; web3.py would cost each of
them 50 MB and half a second of start.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect


class RpcError(Exception):
    """An answer that the node gave: it is up, and it refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class RpcClient:
    """Call one node over one kept-open HTTP connection; safe to share between threads."""

    def __init__(self, url: str, *, timeout_seconds: float = 10.0) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and loopback
        # The node may have closed the connection just now.
        self._session.mount("http", HTTPAdapter(max_retries=Retry(1, allowed_methods=None)))

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of one call.

        Raises:
            RpcError: the node answered with an error.
            OSError: the node could not be reached, or closed the connection.
        """
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        with self._lock:
            answer = self._session.post(self.url, json=body, timeout=self._timeout_seconds).json()
        if "error" in answer:
            error = answer["error"]
            raise RpcError(error.get("code", 0), error.get("message", ""))
        return answer["result"]

    def close(self) -> None:
        self._session.close()


Header = dict[str, Any]
RETRY_SECONDS = 0.25


class HeadFollower:
    """Call `on_head` with every new head's header, from one background thread.

    A head is a hint, not a promise: several blocks may lie between two heads (the node was
    restarted, the connection was lost), and after a reorg the number may go down. After every
    (re)connection the current head is reported, so a consumer that compares it with what it has
    seen misses nothing. Exceptions of `on_head` that mean "the node is gone" (OSError, RpcError)
    end the connection and are tried again; others end the thread.
    """

    def __init__(
        self,
        rpc_url: str,
        on_head: Callable[[Header], None],
        on_pending: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; `on_pending` gets the hash of each transaction that comes into the pool."""
        self._rpc = RpcClient(rpc_url)
        self._url = urlsplit(rpc_url)._replace(scheme="ws").geturl()  # one port serves both
        self._on_head, self._on_pending = on_head, on_pending
        self.is_following = threading.Event()
        self._stopping = threading.Event()
        self._socket: ClientConnection | None = None
        self._thread = threading.Thread(target=self._run, name="head-follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop following; returns when the thread has ended."""
        self._stopping.set()
        if self._socket is not None:
            self._socket.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._rpc.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(OSError, WebSocketException, RpcError):
                self._subscribe_and_follow()
            self._stopping.wait(RETRY_SECONDS)

    def _subscribe_and_follow(self) -> None:
        with connect(self._url, compression=None, max_size=None, open_timeout=5) as socket:
            self._socket = socket
            for name in ("newHeads", *(["newPendingTransactions"] if self._on_pending else [])):
                request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": [name]}
                socket.send(json.dumps(request))
                while "id" not in (message := json.loads(socket.recv(timeout=5))):
                    self._tell(message)
            self._report_current()
            self.is_following.set()
            while not self._stopping.is_set():
                self._tell(json.loads(socket.recv()))

    def _tell(self, message: dict[str, Any]) -> None:
        news = message["params"]["result"]
        if isinstance(news, dict):
            self._on_head(news)
        elif self._on_pending is not None:
            self._on_pending(news)

    def _report_current(self) -> None:
        header = self._rpc.call("eth_getBlockByNumber", "latest", False)
        if header:
            self._on_head(header)


class ChainWatcher:
    """Call `on_block` with each canonical block's header, in order, from one thread.

    It is called again for a number whose block was replaced. After an outage (of the node, or of
    the connection) all blocks since the last one follow.
    """

    def __init__(
        self, rpc_url: str, on_block: Callable[[Header], None], *, from_block: int | None = None
    ) -> None:
        """Prepare; without `from_block` watching begins after the current head."""
        self._rpc = RpcClient(rpc_url)
        self._on_block = on_block
        self._first = from_block
        self._hashes: dict[int, str] = {}
        self.head = -1
        self._follower = HeadFollower(rpc_url, self.on_head)

    def start(self) -> None:
        self._follower.start()

    def wait_for_head(self, timeout_seconds: float) -> bool:
        """Return whether the node told of its head in time: from then on no block is missed."""
        return self._follower.is_following.wait(timeout_seconds)

    def stop(self) -> None:
        self._follower.stop()
        self._rpc.close()

    def on_head(self, header: Header) -> None:
        """Take a new head: report the blocks that it makes canonical and that are new."""
        number = int(header["number"], 16)
        if self._first is None:
            self._first = number + 1
            self._hashes = {number: header["hash"]}
            self.head = number
        if self._hashes.get(number) == header["hash"] and self.head == number:
            return
        for block in self._new_branch(header):
            self._on_block(block)
            self._remember(block)

    def _new_branch(self, header: Header) -> list[Header]:
        """Return the blocks from the last one seen in common up to this head, oldest first."""
        assert self._first is not None
        branch = [header]
        number = int(header["number"], 16)
        while (number := number - 1) >= self._first:
            if self._hashes.get(number) == branch[-1]["parentHash"]:
                break
            parent = self._rpc.call("eth_getBlockByHash", branch[-1]["parentHash"], False)
            if parent is None:
                return []  # Replaced while we looked; the next head tells of it.
            branch.append(parent)
        return [block for block in reversed(branch) if int(block["number"], 16) >= self._first]

    def _remember(self, block: Header) -> None:
        number = int(block["number"], 16)
        for stale in [known for known in self._hashes if known > number]:
            del self._hashes[stale]
        self._hashes[number] = block["hash"]
        self.head = number
