"""Emulate the fname registry: who has which name, by the newest transfer."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from sandbox.http import Emulator, Faults, json_response


class FarcasterNamesEmulator(Emulator[Faults]):
    """Answer from `names`, a dictionary from fid to name."""

    name = "farcaster"
    faults_class = Faults

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.names: dict[int, str] = {}

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/transfers/current", self._current)]

    def on_reset(self) -> None:
        self.names.clear()

    async def _current(self, request: web.Request) -> web.Response:
        fid = int(request.query["fid"])
        if fid not in self.names:
            return json_response({"error": "Could not resolve current name"}, 404)
        transfer = {"id": fid, "username": self.names[fid], "from": 0, "to": fid}
        return json_response({"transfer": transfer})
