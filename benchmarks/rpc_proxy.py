"""A proxy in front of the node that counts what is asked."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from sandbox.rpc_relay import RelayHandler, RpcRelay


@dataclass(frozen=True)
class Traffic:
    """Requests over HTTP, the JSON-RPC calls in them, and the node's own seconds for them."""

    requests: int = 0
    calls: int = 0
    node_seconds: float = 0.0


class RpcProxy(RpcRelay):
    """Listens on a free port of loopback while it is open; see `url`."""

    def __init__(self, node_url: str) -> None:
        super().__init__(node_url, _Handler)
        self._lock = threading.Lock()
        self._traffic = Traffic()

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


class _Handler(RelayHandler):
    def pass_on(self, body: bytes) -> None:
        started = time.perf_counter()
        content = self.ask(body)
        asked = json.loads(body)
        proxy: RpcProxy = self.server.relay
        proxy.count(len(asked) if isinstance(asked, list) else 1, time.perf_counter() - started)
        self.answer(content)
