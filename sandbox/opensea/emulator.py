"""Emulate OpenSea's endpoint that refreshes a token's metadata.

Error bodies are `{"errors": ["…"]}`; the answer to an accepted refresh is a short JSON text.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

from sandbox.http import Emulator, Faults, Request, Response, json_response
from sandbox.http.emulator import Handler


@dataclass(frozen=True, kw_only=True)
class OpenSeaFaults(Faults):
    """Set how OpenSea misbehaves; `unknown_first`: so many tries of each token find nothing."""

    unknown_first: int = 0


class OpenSeaEmulator(Emulator):
    """Takes refreshes of any contract's tokens; `refreshed` lists them in order."""

    name = "opensea"
    faults_class = OpenSeaFaults

    def __init__(self, *, api_key: str = "sandbox-opensea-key", **common: Any) -> None:
        super().__init__(**common)
        self._api_key = api_key
        self._tries: Counter[str] = Counter()
        self.refreshed: list[tuple[str, str, int]] = []

    def routes(self) -> list[tuple[str, str, Handler]]:
        path = r"/api/v2/chain/([a-z_]+)/contract/(0x[0-9a-fA-F]{40})/nfts/(\d+)/refresh"
        return [("POST", path, self._refresh)]

    def throttled(self, retry_after_seconds: int) -> Response:
        response = _refusal("Request was throttled.", 429)
        response.headers["Retry-After"] = str(retry_after_seconds)
        return response

    def server_error(self, status: int) -> Response:
        return _refusal("Internal server error", status)

    def on_reset(self) -> None:
        self._tries.clear()
        self.refreshed.clear()

    def _refresh(self, request: Request, chain: str, contract: str, number: str) -> Response:
        given = request.headers.get("x-api-key", "")
        if not secrets.compare_digest(given.encode(), self._api_key.encode()):
            return _refusal("Invalid API key", 401)
        self._tries[number] += 1
        if self._tries[number] <= cast(OpenSeaFaults, self.faults).unknown_first:
            return _refusal(f"Nft {contract}/{number} not found", 404)
        self.refreshed.append((chain, contract, int(number)))
        return json_response("NFT queued for refresh")


def _refusal(text: str, status: int) -> Response:
    return json_response({"errors": [text]}, status)
