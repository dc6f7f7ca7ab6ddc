"""Follows the chain's head by a websocket subscription."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from sandbox.rpc import RpcClient, RpcError

Header = dict[str, Any]
RETRY_SECONDS = 0.25


def websocket_url(rpc_url: str) -> str:
    """Return the websocket address of a node that serves both on one port, as anvil does."""
    parts = urlsplit(rpc_url)
    return urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws"))


class HeadFollower:
    """Call `on_head` with every new head's header, from one background thread.

    A head is a hint, not a promise: several blocks may lie between two heads (the node was
    restarted, the connection was lost), and after a reorg the number may go down. After every
    (re)connection the current head is reported, so a consumer that compares it with what it has
    seen misses nothing. Exceptions of `on_head` that mean "the node is gone" (OSError, RpcError)
    end the connection and are tried again; others end the thread.
    """

    def __init__(self, rpc_url: str, on_head: Callable[[Header], None]) -> None:
        self._rpc = RpcClient(rpc_url)
        self._url = websocket_url(rpc_url)
        self._on_head = on_head
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
            socket.send(
                json.dumps(
                    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
                )
            )
            socket.recv(timeout=5)
            self._report_current()
            while not self._stopping.is_set():
                message = json.loads(socket.recv())
                if message.get("method") == "eth_subscription":
                    self._on_head(message["params"]["result"])

    def _report_current(self) -> None:
        header = self._rpc.call("eth_getBlockByNumber", "latest", False)
        if header:
            self._on_head(header)
