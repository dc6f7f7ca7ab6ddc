"""Emulate the part of Pinata's API that pins files: real CIDs, real content, its ways to refuse.

Reasons of errors are those seen in live replies.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from glisk.cid import compute_dag
from sandbox.http import SUBJECT, BillEntry, Emulator, Faults, RateLimit, json_response
from sandbox.pinata.store import ContentStore, Pin, PinList

SANDBOX_JWT = "sandbox.pinata.jwt"


@dataclass(frozen=True, kw_only=True)
class PinataFaults(Faults):
    """Set how Pinata misbehaves.

    `wrong_cid_rate`: the file is damaged on its way, so its CID is another one.
    `first_key_revoked`: only keys that were made later are taken (the JWT, a point and anything).
    `key_revoked`, `no_scopes`, `plan_limit_reached`: 403 with that reason.
    `requests_per_minute` is the rate limit, 0 is none. It counts in windows of a minute, or, with
    `requests_burst`, by a bucket of so many calls.
    """

    wrong_cid_rate: float = 0.0
    first_key_revoked: bool = False
    key_revoked: bool = False
    no_scopes: bool = False
    plan_limit_reached: bool = False
    requests_per_minute: int = 0
    requests_burst: int = 0


class PinataEmulator(Emulator[PinataFaults]):
    """Pin files under the CIDs that IPFS gives them."""

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
        self._pin_seconds = (
            pin_seconds if isinstance(pin_seconds, tuple) else (pin_seconds, pin_seconds)
        )
        self._rate_limit = RateLimit()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/pinning/pinFileToIPFS", self._pin_file)]

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
        return self._pins.all()

    # --- the vendor's replies to faults ---

    def throttled(self, retry_after_seconds: int) -> web.Response:
        return _error(
            429,
            "RATE_LIMITED",
            "You have exceeded your rate limit",
            {
                "Retry-After": str(retry_after_seconds),
                "X-RateLimit-Limit": str(self.faults.requests_per_minute or 60),
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(math.ceil(time.time() + retry_after_seconds)),
            },
        )

    def server_error(self, status: int) -> web.Response:
        return _error(status, "INTERNAL_SERVER_ERROR", "Something went wrong")

    # --- pinning ---

    async def _pin_file(self, request: web.Request) -> web.Response:
        try:
            upload = await _read_upload(request)
            refusal = self._refusal(request)
            if refusal is not None:
                return refusal
            version = _cid_version(upload)  # is looked at after the key only
        except ValueError as error:
            return _error(400, "BAD_REQUEST", str(error))
        pin, known = self._store_content(upload, version)
        request[SUBJECT] = pin.cid
        await asyncio.sleep(self.plan.seconds("pin", self._pin_seconds))
        return self.pinned(known or pin, duplicate=known is not None)

    def pinned(self, pin: Pin, *, duplicate: bool) -> web.Response:
        moment = datetime.fromtimestamp(pin.pinned_at, UTC)
        reply = {
            "IpfsHash": pin.cid,
            "PinSize": pin.dag_size,
            "Timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        return json_response({**reply, "isDuplicate": True} if duplicate else reply)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._credentials_match(request):
            return _error(401, "INVALID_CREDENTIALS", "Invalid/expired credentials")
        faults = self.faults
        first = not request.headers.get("Authorization", "").startswith(self._later_keys)
        if faults.key_revoked or (faults.first_key_revoked and first):
            return _error(403, "API_KEY_REVOKED", "This API key has been revoked")
        if faults.no_scopes:
            details = "This key does not have the required scopes associated with it"
            return _error(403, "NO_SCOPES_FOUND", details)
        if faults.plan_limit_reached:
            return _error(403, "FORBIDDEN", "Account blocked due to plan usage limit")
        if not self._rate_limit.allow(faults.requests_per_minute, faults.requests_burst):
            return self.throttled(max(1, math.ceil(self._rate_limit.resets_at - time.time())))
        return None

    def _credentials_match(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "").encode()
        if given:
            is_first = secrets.compare_digest(given, f"Bearer {self._jwt}".encode())
            return is_first or given.startswith(self._later_keys.encode())
        names = ("pinata_api_key", "pinata_secret_api_key")
        pair = [request.headers.get(name, "").encode() for name in names]
        expected = [part.encode() for part in self._key_pair]
        return all(expected) and all(map(secrets.compare_digest, pair, expected))

    def _store_content(self, upload: _Upload, version: Literal[0, 1]) -> tuple[Pin, Pin | None]:
        """Store and charge; return the pin, and the one that was there before if there was."""
        content = upload.content
        if self.plan.chance("wrong-cid", self.faults.wrong_cid_rate):
            content += b"\0"
        added = compute_dag(content, version=version)
        cid, now = str(added.cid), time.time()
        self.store.write(cid, content)
        name = upload.metadata.get("name") or upload.filename
        keyvalues = upload.metadata.get("keyvalues") or {}
        pin = Pin(cid, added.dag_size_bytes, name, keyvalues, now)
        self.bill.add(BillEntry(now, cid, cid))
        return pin, self._pins.add(pin)


@dataclass(frozen=True)
class _Upload:
    content: bytes
    filename: str
    options: dict[str, Any]
    metadata: dict[str, Any]


async def _read_upload(request: web.Request) -> _Upload:
    """Read a pinFileToIPFS request; raises ValueError if a part is no JSON."""
    form = await request.post()
    file = form["file"]
    assert isinstance(file, web.FileField)
    with file.file as content:
        options, metadata = (
            json.loads(str(form.get(name) or "{}")) for name in ("pinataOptions", "pinataMetadata")
        )
        return _Upload(content.read(), file.filename, options, metadata)


def _cid_version(upload: _Upload) -> Literal[0, 1]:
    """Return the CID version asked for; 0 is what the legacy API does by itself."""
    version = upload.options.get("cidVersion", 0)
    if version not in (0, 1, "0", "1"):
        raise ValueError("cidVersion must be 0 or 1")
    return 1 if int(version) else 0


def _error(
    status: int, reason: str, details: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    return json_response({"error": {"reason": reason, "details": details}}, status, headers)
