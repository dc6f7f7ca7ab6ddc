"""When blocks and transactions appear, by this process's clock.

Block timestamps are whole seconds, so they cannot time a reveal. The node announces new heads
and pending transactions over its websocket; the moment of arrival is what a client sees.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

_SUBSCRIPTIONS = ("newHeads", "newPendingTransactions")


class ChainWatch:
    """Records Unix times by block number and by transaction hash while it is open."""

    def __init__(self, rpc_url: str) -> None:
        self.blocks: dict[int, float] = {}
        self.pending: dict[str, float] = {}
        self._changed = threading.Condition()
        url = rpc_url.replace("http", "ws", 1)  # the node serves both on one port
        self._connection = connect(url, compression=None, max_size=None)
        self._thread = threading.Thread(target=self._follow, name="chain-watch", daemon=True)

    def __enter__(self) -> Self:
        self._socket = self._connection.__enter__()
        for name in _SUBSCRIPTIONS:
            request = {"jsonrpc": "2.0", "id": name, "method": "eth_subscribe", "params": [name]}
            self._socket.send(json.dumps(request))
            while (message := json.loads(self._socket.recv(timeout=10))).get("id") != name:
                self._note(message)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.__exit__(None, None, None)
        self._thread.join(timeout=5)

    def wait_for_block(self, after: int, timeout_seconds: float = 30.0) -> int:
        """Return the newest block's number once it is higher than `after`.

        Raises `TimeoutError`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.newest > after, timeout_seconds):
                raise TimeoutError(f"no block after {after} within {timeout_seconds:g} s")
            return self.newest

    @property
    def newest(self) -> int:
        return max(self.blocks, default=-1)

    def _follow(self) -> None:
        try:
            while True:
                self._note(json.loads(self._socket.recv()))
        except ConnectionClosed:
            return

    def _note(self, message: dict[str, Any]) -> None:
        now = time.time()
        if message.get("method") != "eth_subscription":
            return
        result = message["params"]["result"]
        with self._changed:
            if isinstance(result, dict):
                self.blocks.setdefault(int(result["number"], 16), now)
            else:
                self.pending.setdefault(str(result), now)
            self._changed.notify_all()
