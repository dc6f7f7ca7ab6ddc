"""Emulate an IPFS gateway over the content that the Pinata emulator stores."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.http import SUBJECT, Emulator, Faults
from sandbox.pinata.store import ContentStore, block_of

HTML_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*"}
CACHING = {"Cache-Control": "public, max-age=31536000, immutable"}
SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"<!doctype html", "text/html"),
    (b"<html", "text/html"),
)
SLOW_STEP_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class GatewayFaults(Faults):
    """Set how the gateway misbehaves.

    `html_rate`: a page with status 200 instead of the bytes. `truncated_rate`: a shorter body that
    says so. `wrong_content_rate`: other bytes of the same length. `slow_rate` with
    `slow_bytes_per_second`. `not_found_first`: so many tries of each CID find nothing. HTML files
    get 403, as on public gateways (`refuse_html`).
    """

    html_rate: float = 0.0
    refuse_html: bool = True
    truncated_rate: float = 0.0
    wrong_content_rate: float = 0.0
    slow_rate: float = 0.0
    slow_bytes_per_second: float = 20_000.0
    not_found_first: int = 0


class GatewayEmulator(Emulator[GatewayFaults]):
    """Serve pinned content at /ipfs/{cid}."""

    name = "gateway"
    faults_class = GatewayFaults

    def __init__(self, *, store: ContentStore | Path | str, token: str = "", **common: Any) -> None:
        """Prepare the gateway over a store; with a token, every read needs it.

        For `common` see `Emulator`.
        """
        super().__init__(**common)
        self._store = store if isinstance(store, ContentStore) else ContentStore(store)
        self._token = token
        self._tries: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/ipfs/{cid}", self._file)]

    def throttled(self, retry_after_seconds: int) -> web.Response:
        response = _text("Too many requests", 429)
        response.headers["Retry-After"] = str(retry_after_seconds)
        return response

    def server_error(self, status: int) -> web.Response:
        page = f"<html><head><title>{status}</title></head><body></body></html>"
        return _file(page.encode(), "text/html", status)

    def on_reset(self) -> None:
        self._tries.clear()

    def _allowed(self, request: web.Request) -> bool:
        given = request.query.get(
            "pinataGatewayToken", request.headers.get("X-Pinata-Gateway-Token", "")
        )
        return not self._token or secrets.compare_digest(given.encode(), self._token.encode())

    async def _file(self, request: web.Request) -> web.StreamResponse:
        request[SUBJECT] = cid = request.match_info["cid"]
        if not self._allowed(request):
            return _text("ERR_ID:00024 - The gateway token is missing or invalid", 403)
        try:
            block = block_of(cid)
        except ValueError:
            return _text(f'invalid path "/ipfs/{cid}": invalid CID', 400)
        self._tries[block] += 1
        content = self._store.read(cid)
        if content is None or self._tries[block] <= self.faults.not_found_first:
            return _text("ipfs resolve -r: no link or block under that CID", 404)
        media_type = content_type(content)
        if media_type == "text/html" and self.faults.refuse_html:
            return _text("HTML content cannot be served through this gateway", 403)
        return await self._deliver(request, content, media_type)

    async def _deliver(
        self, request: web.Request, content: bytes, media_type: str
    ) -> web.StreamResponse:
        """Send a file, by way of what can go wrong with that."""
        faults, chance = self.faults, self.plan.chance
        if chance("html", faults.html_rate):
            return _file(HTML_PAGE, "text/html; charset=utf-8")
        if chance("truncated", faults.truncated_rate):
            content = content[: len(content) // 2]
        if chance("wrong-content", faults.wrong_content_rate):
            content = bytes(byte ^ 0x01 for byte in content)
        headers = {"Content-Type": media_type, **CORS, **CACHING}
        if not chance("slow", faults.slow_rate):
            return web.Response(body=content, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.content_length = len(content)
        await response.prepare(request)
        step = max(1, int(faults.slow_bytes_per_second * SLOW_STEP_SECONDS))
        for start in range(0, len(content), step):
            await response.write(content[start : start + step])
            await asyncio.sleep(SLOW_STEP_SECONDS)
        return response


def content_type(content: bytes) -> str:
    """Tell a file's media type by its bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    beginning = content[:64].lstrip().lower()
    for signature, media_type in SIGNATURES:
        if beginning.startswith(signature.lower()):
            return media_type
    try:
        json.loads(content)
    except ValueError:  # which a wrong encoding is, too
        return "application/octet-stream"
    return "application/json"


def _file(content: bytes, media_type: str, status: int = 200) -> web.Response:
    return web.Response(body=content, status=status, headers={"Content-Type": media_type, **CORS})


def _text(text: str, status: int) -> web.Response:
    return _file(text.encode(), "text/plain; charset=utf-8", status)
