"""Pinata's pinning API (https://docs.pinata.cloud, "legacy" endpoints).

Why not the newer v3 upload: it documents no CID version, makes files private by default, and its
keys are refused here (403 NO_SCOPES_FOUND) as ours would be there. Our own bytes are pinned as a
file, never through pinJSONToIPFS, whose serialization, and so whose CID, is the server's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from glisk.clients.http import HttpClient, HttpOptions
from glisk.clients.http_errors import Fault, Reply, bad_reply, bounded_seconds, timestamp
from glisk.errors import AccountError, InvalidRequestError
from glisk.logging.redaction import register_secret, storable_text

VENDOR: Final = "pinata"
_MAX_CID_CHARACTERS: Final = 100
MAX_KEYVALUES: Final = 10  # https://docs.pinata.cloud, pinataMetadata


@dataclass(frozen=True, slots=True)
class Pin:
    """A pinned file as Pinata reports it; `cid` is the vendor's word and must be compared."""

    cid: str
    size_bytes: int
    is_duplicate: bool


class PinataClient:
    """Pins files. Pinning the same bytes again is harmless, so every call may be repeated."""

    def __init__(
        self,
        *,
        base_url: str = "https://api.pinata.cloud",
        jwt: str = "",
        api_key: str = "",
        api_secret: str = "",
        options: HttpOptions | None = None,
    ) -> None:
        """Take a JWT, or a key with its secret; raise ValueError if there is neither."""
        for secret in (jwt, api_key, api_secret):
            register_secret(secret)
        if jwt:
            headers = {"Authorization": f"Bearer {jwt}"}
        elif api_key and api_secret:
            headers = {"pinata_api_key": api_key, "pinata_secret_api_key": api_secret}
        else:
            raise ValueError("PINATA_JWT, or PINATA_API_KEY and PINATA_API_SECRET, must be set")
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=base_url,
            headers=headers,
            options=options,
            read_fault=read_pinata_fault,
        )

    @classmethod
    def from_settings(cls) -> Self:
        """Build the client from the PINATA_* and HTTP_* settings."""
        from django.conf import settings

        return cls(
            base_url=settings.PINATA_API_URL,
            jwt=settings.PINATA_JWT,
            api_key=settings.PINATA_API_KEY,
            api_secret=settings.PINATA_API_SECRET,
            options=HttpOptions.from_settings(),
        )

    def pin_file(
        self,
        *,
        data: bytes,
        name: str,
        keyvalues: Mapping[str, str],
        cid_version: Literal[0, 1],
        content_type: str = "application/octet-stream",
    ) -> Pin:
        """Pin bytes as one file and return what Pinata says it is.

        Raises AccountError if the key or the plan is refused, InvalidRequestError for 400s,
        TransientError otherwise; ValueError for more than ten keyvalues.
        """
        if len(keyvalues) > MAX_KEYVALUES:
            raise ValueError(f"Pinata takes at most {MAX_KEYVALUES} keyvalues")
        reply = self._http.call(
            "POST",
            "/pinning/pinFileToIPFS",
            idempotent=True,
            data={
                "pinataMetadata": json.dumps({"name": name, "keyvalues": dict(keyvalues)}),
                "pinataOptions": json.dumps({"cidVersion": cid_version}),
            },
            files={"file": (name, data, content_type)},
        )
        answer = reply.json_object() or {}
        cid, size = answer.get("IpfsHash"), answer.get("PinSize")
        if not isinstance(cid, str) or not cid or not isinstance(size, int):
            raise bad_reply(VENDOR, "pinFileToIPFS", reply, idempotent=True, why="no IpfsHash")
        # Whatever it is, it will be stored, and compared with a CID of ours.
        cid = storable_text(cid)[:_MAX_CID_CHARACTERS]
        return Pin(cid=cid, size_bytes=size, is_duplicate=answer.get("isDuplicate") is True)

    def probe(self) -> None:
        """Check that the key may pin files, without pinning anything.

        testAuthentication says 200 even to keys without scope and to blocked accounts, and scopes
        are given by endpoint: so the one that we use is called. An impossible cidVersion is refused
        with 400 only after the key was accepted. Raises AccountError or TransientError.
        """
        try:
            self._http.call(
                "POST",
                "/pinning/pinFileToIPFS",
                idempotent=True,
                data={"pinataOptions": json.dumps({"cidVersion": 99})},
                files={"file": ("probe", b"probe", "text/plain")},
            )
        except InvalidRequestError as error:
            if error.status != 400:
                raise


def read_pinata_fault(reply: Reply) -> Fault:
    """Read Pinata's error body: `{"error": {"reason", "details"}}` or `{"error": "text"}`.

    The reasons seen so far are INVALID_CREDENTIALS (401), NO_SCOPES_FOUND, API_KEY_REVOKED and
    FORBIDDEN (403: plan limit reached); all of them concern the account, not the file.
    """
    answer = reply.json_object() or {}
    error = answer.get("error")
    reason = detail = None
    if isinstance(error, dict):
        reason, detail = error.get("reason"), error.get("details")
    elif isinstance(error, str):
        detail = error
    elif isinstance(answer.get("message"), str):
        detail = answer["message"]
    text = ": ".join(part for part in (reason, detail) if isinstance(part, str) and part)
    return Fault(
        detail=text or reply.excerpt(),
        code=reason if isinstance(reason, str) else None,
        kind=AccountError if reply.status in (401, 402, 403) else None,
        retry_after_seconds=_until_reset(reply),
    )


def _until_reset(reply: Reply) -> float | None:
    """Return the seconds until X-RateLimit-Reset (unix seconds), for a 429 without Retry-After.

    By the reply's own Date: this machine's clock may be minutes away from Pinata's.
    """
    try:
        reset = float(reply.headers.get("X-RateLimit-Reset", ""))
    except ValueError:
        return None
    sent = timestamp(reply.headers.get("Date", ""))
    return bounded_seconds(reset - (time.time() if sent is None else sent))
