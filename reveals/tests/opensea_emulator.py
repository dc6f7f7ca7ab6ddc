"""Emulate OpenSea's endpoint that refreshes a token's metadata.

Error bodies are `{"errors": ["…"]}`; the answer to an accepted refresh is a short JSON text.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.http import Emulator, Faults, json_response


@dataclass(frozen=True, kw_only=True)
class OpenSeaFaults(Faults):
    """Set how OpenSea misbehaves; `unknown_first`: so many tries of each token find nothing."""

    unknown_first: int = 0


class OpenSeaEmulator(Emulator[OpenSeaFaults]):
    """Takes refreshes of any contract's tokens; `refreshed` lists them in order."""

    name = "opensea"
    faults_class = OpenSeaFaults

    def __init__(self, *, api_key: str = "sandbox-opensea-key", **common: Any) -> None:
        super().__init__(**common)
        self._api_key = api_key
        self._tries: Counter[str] = Counter()
        self.refreshed: list[tuple[str, str, int]] = []

    def routes(self) -> list[web.RouteDef]:
        path = r"/api/v2/chain/{chain}/contract/{contract}/nfts/{number:\d+}/refresh"
        return [web.post(path, self._refresh)]

    def throttled(self, retry_after_seconds: int) -> web.Response:
        response = _refusal("Request was throttled.", 429)
        response.headers["Retry-After"] = str(retry_after_seconds)
        return response

    def server_error(self, status: int) -> web.Response:
        return _refusal("Internal server error", status)

    def on_reset(self) -> None:
        self._tries.clear()
        self.refreshed.clear()

    async def _refresh(self, request: web.Request) -> web.Response:
        chain, contract, number = (
            request.match_info[name] for name in ("chain", "contract", "number")
        )
        given = request.headers.get("X-API-Key", "")
        if not secrets.compare_digest(given.encode(), self._api_key.encode()):
            return _refusal("Invalid API key", 401)
        self._tries[number] += 1
        if self._tries[number] <= self.faults.unknown_first:
            return _refusal(f"Nft {contract}/{number} not found", 404)
        self.refreshed.append((chain, contract, int(number)))
        return json_response("NFT queued for refresh")


def _refusal(text: str, status: int) -> web.Response:
    return json_response({"errors": [text]}, status)
