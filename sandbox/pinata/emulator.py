"""Emulate Pinata's pinning API: real CIDs, real content, its ways to refuse."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from sandbox.http import BillEntry, Emulator, Faults, Request, Response, json_response
from sandbox.http.emulator import Handler
from sandbox.http.ratelimit import RateLimit
from sandbox.pinata import replies
from sandbox.pinata.ipfs_cid import add_file
from sandbox.pinata.store import ContentStore, Pin, PinList
from sandbox.pinata.uploads import InvalidUpload, Upload, read_file_upload, read_json_upload

SANDBOX_JWT = "sandbox.pinata.jwt"
LONG_HASHING = 1024 * 1024  # bytes above which a CID is computed beside the event loop
MOST_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class PinataFaults(Faults):
    """Set how Pinata misbehaves.

    `wrong_cid_rate`: the file is damaged on its way, so its CID is another one.
    `first_key_revoked`: only keys that were made later are taken (the JWT, a point and anything).
    `key_revoked`, `no_scopes`, `plan_limit_reached`: 403 with that reason; the last two leave
    testAuthentication at 200, as at the real one. `most_pins` is the plan's number of files,
    `requests_per_minute` its rate limit; 0 is no limit. It counts in windows of a minute, or, with
    `requests_burst`, by a bucket of so many calls.
    """

    wrong_cid_rate: float = 0.0
    first_key_revoked: bool = False
    key_revoked: bool = False
    no_scopes: bool = False
    plan_limit_reached: bool = False
    most_pins: int = 0
    requests_per_minute: int = 0
    requests_burst: int = 0


class PinataEmulator(Emulator):
    """Pin files and JSON under the CIDs that IPFS gives them."""

    name = "pinata"
    faults_class = PinataFaults

    def __init__(
        self,
        *,
        store: ContentStore | Path | str | None = None,
        jwt: str = SANDBOX_JWT,
        api_key: str = "",
        api_secret: str = "",
        pin_seconds: float | tuple[float, float] = 0.2,
        **common: Any,
    ) -> None:
        """Prepare the emulator; `pin_seconds` is how long a pin takes, or a range.

        `store` holds content and pins; give the same one to the gateway. Without `api_key` only
        the JWT is accepted. For `common` see `Emulator`.
        """
        super().__init__(**common)
        self._owns_store = not isinstance(store, ContentStore)
        self.store = store if isinstance(store, ContentStore) else ContentStore(store)
        self._pins = PinList(self.store.folder)
        self._jwt, self._later_keys = jwt, f"Bearer {jwt}."
        self._key_pair = (api_key, api_secret)
        self.pin_seconds = (
            pin_seconds if isinstance(pin_seconds, tuple) else (pin_seconds, pin_seconds)
        )
        self._rate_limit = RateLimit()

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/pinning/pinFileToIPFS", self._pin_file),
            ("POST", "/pinning/pinJSONToIPFS", self._pin_json),
            ("DELETE", r"/pinning/unpin/(\w+)", self._unpin),
            ("GET", "/data/testAuthentication", self._test_authentication),
            ("GET", "/data/pinList", self._pin_list),
            ("GET", "/data/userPinnedDataTotal", self._totals),
        ]

    async def on_stop(self) -> None:
        self._pins.close()
        if self._owns_store:
            self.store.close()

    def on_reset(self) -> None:
        self._pins.clear()
        self.store.clear()
        self._rate_limit = RateLimit()

    @property
    def pins(self) -> list[Pin]:
        """Return what is pinned now, the oldest first."""
        return self._pins.pinned()

    @property
    def _settings(self) -> PinataFaults:
        return cast(PinataFaults, self.faults)

    # --- the vendor's replies to faults ---

    def throttled(self, retry_after_seconds: int) -> Response:
        limit = self._settings.requests_per_minute or 60
        return replies.error(
            429,
            "RATE_LIMITED",
            "You have exceeded your rate limit",
            {
                "Retry-After": str(retry_after_seconds),
                "X-RateLimit-Limit": str(limit),
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(math.ceil(time.time() + retry_after_seconds)),
            },
        )

    def server_error(self, status: int) -> Response:
        return replies.error(status, "INTERNAL_SERVER_ERROR", "Something went wrong")

    def not_found(self, request: Request) -> Response:
        return replies.error(404, "NOT_FOUND", "The requested resource was not found")

    # --- who asks ---

    def _refusal(self, request: Request, *, pinning: bool = True) -> Response | None:
        if not self._credentials_match(request):
            return replies.error(401, "INVALID_CREDENTIALS", "Invalid/expired credentials")
        settings = self._settings
        first = not request.headers.get("authorization", "").startswith(self._later_keys)
        if settings.key_revoked or (settings.first_key_revoked and first):
            return replies.error(403, "API_KEY_REVOKED", "This API key has been revoked")
        if pinning and settings.no_scopes:
            return replies.error(403, "NO_SCOPES_FOUND", replies.NO_SCOPES)
        if pinning and settings.plan_limit_reached:
            return replies.error(403, "FORBIDDEN", "Account blocked due to plan usage limit")
        if not self._rate_limit.allow(settings.requests_per_minute, settings.requests_burst):
            return self.throttled(max(1, math.ceil(self._rate_limit.resets_at - time.time())))
        return None

    def _credentials_match(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        if given:
            is_first = secrets.compare_digest(given, f"Bearer {self._jwt}".encode())
            return is_first or given.startswith(self._later_keys.encode())
        names = ("pinata_api_key", "pinata_secret_api_key")
        pair = [request.headers.get(name, "").encode() for name in names]
        expected = [part.encode() for part in self._key_pair]
        return all(expected) and all(map(secrets.compare_digest, pair, expected))

    # --- the API ---

    async def _pin_file(self, request: Request) -> Response:
        try:
            upload = read_file_upload(request)
        except InvalidUpload as error:
            return replies.error(400, "BAD_REQUEST", str(error))
        return await self._pin(request, upload)

    async def _pin_json(self, request: Request) -> Response:
        try:
            upload = read_json_upload(request)
        except InvalidUpload as error:
            return replies.error(400, "BAD_REQUEST", str(error))
        return await self._pin(request, upload)

    async def _pin(self, request: Request, upload: Upload) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            upload.check()
        except InvalidUpload as error:
            return replies.error(400, "BAD_REQUEST", str(error))
        settings = self._settings
        if settings.most_pins and len(self._pins.pinned()) >= settings.most_pins:
            return replies.error(403, "FORBIDDEN", "Account blocked due to plan usage limit")
        content = upload.content
        if self.plan.chance("wrong-cid", settings.wrong_cid_rate):
            content += b"\0"
        pin, duplicate = await self._store_content(content, upload)
        request.subject = pin.cid
        await asyncio.sleep(self.plan.seconds("pin", self.pin_seconds))
        return replies.pinned(pin, duplicate=duplicate)

    async def _store_content(self, content: bytes, upload: Upload) -> tuple[Pin, bool]:
        def compute() -> tuple[str, int]:
            added = add_file([content], cid_version=upload.cid_version)
            self.store.write(str(added.cid), content)
            return str(added.cid), added.dag_size

        if len(content) > LONG_HASHING:
            cid, dag_size = await asyncio.to_thread(compute)
        else:
            cid, dag_size = compute()
        known = self._pins.get(cid)
        pin = known or Pin(cid, dag_size, upload.name, upload.keyvalues, time.time())
        if known is None:
            self._pins.save(pin)
        self.bill.add(
            BillEntry(
                at=time.time(),
                subject=cid,
                key=cid,
                size=len(content),
                detail={"name": upload.name, "keyvalues": upload.keyvalues},
            )
        )
        return pin, known is not None

    def _unpin(self, request: Request, cid: str) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        request.subject = cid
        pin = self._pins.get(cid)
        if pin is None:
            return replies.error(
                400, "CURRENT_USER_HAS_NOT_PINNED_CID", "The current user has not pinned this CID"
            )
        self._pins.save(replace(pin, unpinned_at=time.time()))
        self.store.delete(cid)
        return Response(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})

    def _test_authentication(self, request: Request) -> Response:
        refusal = self._refusal(request, pinning=False)
        message = "Congratulations! You are communicating with the Pinata API!"
        return refusal or json_response({"message": message})

    def _pin_list(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        query = request.query
        try:
            limit = min(MOST_ROWS, int(query.get("pageLimit", "10")))
            offset = int(query.get("pageOffset", "0"))
        except ValueError:
            return replies.error(400, "BAD_REQUEST", "pageLimit and pageOffset must be numbers")
        pins = [pin for pin in self._pins if _matches(pin, query)]
        pins.reverse()
        rows = [replies.row(pin) for pin in pins[offset : offset + limit]]
        return json_response({"count": len(pins), "rows": rows})

    def _totals(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        pins = self._pins.pinned()
        size = str(sum(pin.dag_size for pin in pins))
        return json_response(
            {
                "pin_count": len(pins),
                "pin_size_total": size,
                "pin_size_with_replications_total": size,
            }
        )


def _matches(pin: Pin, query: dict[str, str]) -> bool:
    status = query.get("status", "all")
    if status == "pinned" and pin.unpinned_at is not None:
        return False
    if status == "unpinned" and pin.unpinned_at is None:
        return False
    if query.get("hashContains", "") not in pin.cid:
        return False
    return query.get("metadata[name]", "") in (pin.name or "")
