"""A proxy in front of the node that counts what is asked."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from aiohttp import web

from sandbox.faulty_rpc import NodeProxy


@dataclass(frozen=True)
class Traffic:
    """Requests over HTTP, the JSON-RPC calls in them, and the node's own seconds for them."""

    requests: int = 0
    calls: int = 0
    node_seconds: float = 0.0


class RpcProxy(NodeProxy):
    """Listens on a free port of loopback while it is open; see `url`."""

    def __init__(self, node_url: str) -> None:
        super().__init__(node_url)
        self._traffic = Traffic()

    def take(self) -> Traffic:
        """Return what went by since the last call."""
        seen, self._traffic = self._traffic, Traffic()
        return seen

    async def pass_on(self, request: web.Request) -> web.Response:
        body, started = await request.read(), time.perf_counter()
        content = await self.ask(body)
        seconds, asked, seen = time.perf_counter() - started, json.loads(body), self._traffic
        calls = len(asked) if isinstance(asked, list) else 1
        self._traffic = Traffic(seen.requests + 1, seen.calls + calls, seen.node_seconds + seconds)
        return web.Response(body=content, content_type="application/json")
