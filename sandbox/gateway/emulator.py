"""Emulate an IPFS gateway over the content that the Pinata emulator stores."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sandbox.gateway.sniff import content_type
from sandbox.http import Emulator, Faults, Request, Response, text_response
from sandbox.http.emulator import Handler
from sandbox.pinata.ipfs_cid import InvalidCid, parse_cid
from sandbox.pinata.store import ContentStore

YEAR_SECONDS = 31_536_000
HTML_PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Type, X-Ipfs-Path",
}
MISSING = {
    403: "The owner of this gateway does not have this content pinned to their Pinata account",
    404: "ipfs resolve -r: no link or block under that CID",
    504: "504 Gateway Time-out: the content was not found in time",
}


@dataclass(frozen=True, kw_only=True)
class GatewayFaults(Faults):
    """Set how the gateway misbehaves.

    `html_rate`: a page with status 200 instead of the bytes. `truncated_rate`: a shorter body that
    says so. `cut_rate`: the connection ends within the body. `wrong_content_rate`: other bytes of
    the same length. `slow_rate` with `slow_bytes_per_second`. `not_found_first`: so many tries
    of each CID find nothing. `missing_status` (403, 404, 504), after `missing_seconds`, for what
    is not there. `refuse_html`: HTML files get 403, as on public gateways.
    """

    html_rate: float = 0.0
    truncated_rate: float = 0.0
    cut_rate: float = 0.0
    wrong_content_rate: float = 0.0
    slow_rate: float = 0.0
    slow_bytes_per_second: float = 20_000.0
    not_found_first: int = 0
    missing_status: int = 404
    missing_seconds: float = 0.0
    refuse_html: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.missing_status not in MISSING:
            raise ValueError("missing_status must be 403, 404 or 504")


class GatewayEmulator(Emulator):
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

    def routes(self) -> list[tuple[str, str, Handler]]:
        path = r"/ipfs/([^/]+)/?"
        return [
            ("GET", path, self._serve_file),
            ("HEAD", path, self._serve_file),
            ("OPTIONS", path, lambda request, cid: self._with_cors(Response(204))),
        ]

    def not_found(self, request: Request) -> Response:
        return self._with_cors(text_response("404 page not found", 404))

    def throttled(self, retry_after_seconds: int) -> Response:
        response = text_response("Too many requests", 429)
        response.headers["Retry-After"] = str(retry_after_seconds)
        return self._with_cors(response)

    def server_error(self, status: int) -> Response:
        page = f"<html><head><title>{status}</title></head><body></body></html>"
        return self._with_cors(text_response(page, status, "text/html"))

    def on_reset(self) -> None:
        self._tries.clear()

    @property
    def _settings(self) -> GatewayFaults:
        return cast(GatewayFaults, self.faults)

    @staticmethod
    def _with_cors(response: Response) -> Response:
        response.headers.update(CORS)
        return response

    def _allowed(self, request: Request) -> bool:
        given = request.query.get(
            "pinataGatewayToken", request.headers.get("x-pinata-gateway-token", "")
        )
        return not self._token or secrets.compare_digest(given.encode(), self._token.encode())

    async def _serve_file(self, request: Request, cid: str) -> Response:
        request.subject = cid
        return self._with_cors(await self._file(request, cid))

    async def _file(self, request: Request, cid: str) -> Response:
        if not self._allowed(request):
            return text_response("ERR_ID:00024 - The gateway token is missing or invalid", 403)
        try:
            canonical = str(parse_cid(cid).as_version_1)
        except InvalidCid:
            return text_response(f'invalid path "/ipfs/{cid}": invalid CID', 400)
        settings = self._settings
        self._tries[canonical] += 1
        content = self._store.read(cid)
        if content is None or self._tries[canonical] <= settings.not_found_first:
            await asyncio.sleep(settings.missing_seconds)
            return text_response(MISSING[settings.missing_status], settings.missing_status)
        media_type = content_type(content)
        if settings.refuse_html and media_type == "text/html":
            return text_response("HTML content cannot be served through this gateway", 403)
        headers = {
            "Content-Type": media_type,
            "ETag": f'"{cid}"',
            "Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable",
            "X-Ipfs-Path": f"/ipfs/{cid}",
        }
        if request.headers.get("if-none-match", "").strip() == f'"{cid}"':
            return Response(304, b"", headers)
        return self._damaged(Response(200, content, headers))

    def _damaged(self, response: Response) -> Response:
        """Apply the faults of delivery."""
        settings, chance = self._settings, self.plan.chance
        if chance("html", settings.html_rate):
            return text_response(HTML_PAGE, 200, "text/html; charset=utf-8")
        if chance("truncated", settings.truncated_rate):
            response.body = response.body[: len(response.body) // 2]
        if chance("wrong-content", settings.wrong_content_rate):
            response.body = bytes(byte ^ 0x01 for byte in response.body)
        if chance("cut", settings.cut_rate):
            response.cut_after = len(response.body) // 2
        if chance("slow", settings.slow_rate):
            response.bytes_per_second = settings.slow_bytes_per_second
        return response
