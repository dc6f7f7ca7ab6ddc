"""What the program asks its node, and when: a proxy on a free port of loopback."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from aiohttp import web

from sandbox.faulty_rpc import NodeProxy


class Request(NamedTuple):
    """One request over HTTP, by this process's clock; a batch has several methods."""

    methods: list[str]
    received_at: float
    answered_at: float


class RpcProxy(NodeProxy):
    """Passes everything on while it is open; see `url`."""

    def __init__(self, node_url: str) -> None:
        super().__init__(node_url)
        self._requests: list[Request] = []

    def take(self) -> list[Request]:
        """Return what went by since the last call."""
        seen, self._requests = self._requests, []
        return seen

    async def pass_on(self, request: web.Request) -> web.Response:
        received_at, body = time.time(), await request.read()
        content = await self.ask(body)
        asked = json.loads(body)
        methods = [call["method"] for call in (asked if isinstance(asked, list) else [asked])]
        self._requests.append(Request(methods, received_at, time.time()))
        return web.Response(body=content, content_type="application/json")
