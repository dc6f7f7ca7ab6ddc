"""IPFS: files are pinned at Pinata, and read again from gateways.

Pinata's "legacy" endpoints are used (https://docs.pinata.cloud). Why not the newer v3 upload: it
documents no CID version, makes files private by default, and its keys are refused here
(403 NO_SCOPES_FOUND) as ours would be there. Our own bytes are pinned as a file, never through
pinJSONToIPFS, whose serialization, and so whose CID, is the server's.

A gateway is not trusted: what it serves is hashed. Gateways are asked in the order of the setting
until one has the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from glisk.cid import cid_matches, is_cid
from glisk.clients.http import Fault, HttpClient, Reply, bad_reply, seconds_until
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    ProviderError,
    TransientError,
)
from glisk.logging.redaction import storable_text

PINATA: Final = "pinata"
GATEWAY: Final = "gateway"
TOKEN_HEADER: Final = "x-pinata-gateway-token"  # noqa: S105 - a header's name
_PIN: Final = "/pinning/pinFileToIPFS"
_MAX_CID_CHARACTERS: Final = 100
# Not here now, but perhaps in a moment: a fresh pin reaches a gateway late, and a dedicated
# Pinata gateway answers 403 for a file that it does not yet know to be its owner's.
_LATE_STATUSES: Final = frozenset({403, 404, 410})


class PinataClient:
    """Pins files. Pinning the same bytes again is harmless, so every call may be repeated."""

    def __init__(self) -> None:
        """Take PINATA_JWT, or the key with its secret."""
        pair = {
            "pinata_api_key": settings.PINATA_API_KEY,
            "pinata_secret_api_key": settings.PINATA_API_SECRET,
        }
        jwt = settings.PINATA_JWT
        self._http = HttpClient(
            vendor=PINATA,
            base_url=settings.PINATA_API_URL,
            headers={"Authorization": f"Bearer {jwt}"} if jwt else pair,
            read_fault=_read_pinata_fault,
        )

    def pin_file(
        self,
        *,
        data: bytes,
        name: str,
        keyvalues: Mapping[str, str],
        cid_version: Literal[0, 1],
        content_type: str = "application/octet-stream",
    ) -> str:
        """Pin bytes as one file; return the CID that Pinata names, which must be compared.

        Raises AccountError if the key or the plan is refused, InvalidRequestError for 400s,
        TransientError otherwise.
        """
        reply = self._http.call(
            "POST",
            _PIN,
            idempotent=True,
            data={
                "pinataMetadata": json.dumps({"name": name, "keyvalues": dict(keyvalues)}),
                "pinataOptions": json.dumps({"cidVersion": cid_version}),
            },
            files={"file": (name, data, content_type)},
        )
        cid = reply.json_object().get("IpfsHash")
        if not isinstance(cid, str) or not cid:
            raise bad_reply(PINATA, "pinFileToIPFS", reply, idempotent=True, why="no IpfsHash")
        # Whatever it is, it will be stored, and compared with a CID of ours.
        return storable_text(cid)[:_MAX_CID_CHARACTERS]

    def probe(self) -> None:
        """Check that the key may pin files, without pinning anything.

        testAuthentication says 200 even to keys without scope and to blocked accounts, and scopes
        are given by endpoint: so the one that we use is called. An impossible cidVersion is refused
        with 400 only after the key was accepted. Raises AccountError or TransientError.
        """
        try:
            self._http.call(
                "POST",
                _PIN,
                idempotent=True,
                data={"pinataOptions": json.dumps({"cidVersion": 99})},
                files={"file": ("probe", b"probe", "text/plain")},
            )
        except InvalidRequestError as error:
            if error.status != 400:
                raise


def _read_pinata_fault(reply: Reply) -> Fault:
    """Read Pinata's error body: `{"error": {"reason", "details"}}` or `{"error": "text"}`.

    The reasons seen so far are INVALID_CREDENTIALS (401), NO_SCOPES_FOUND, API_KEY_REVOKED and
    FORBIDDEN (403: plan limit reached); all of them concern the account, not the file.
    A 429 without Retry-After has X-RateLimit-Reset, in unix seconds.
    """
    answer = reply.json_object()
    error = answer.get("error", answer.get("message"))
    said = [error.get("reason"), error.get("details")] if isinstance(error, dict) else [None, error]
    reason, detail = (part if isinstance(part, str) and part else None for part in said)
    try:
        wait = seconds_until(float(reply.headers.get("X-RateLimit-Reset", "")), reply.headers)
    except ValueError:
        wait = None
    text = ": ".join(filter(None, (reason, detail)))
    return Fault(text or reply.excerpt(), code=reason, retry_after_seconds=wait)


class GatewayClient:
    """Reads files by CID from the gateways of PINATA_GATEWAY.

    The token goes to the first gateway only, so that no public fallback ever sees it.
    """

    def __init__(self) -> None:
        token = settings.PINATA_GATEWAY_TOKEN
        self._clients = [
            HttpClient(
                vendor=GATEWAY,
                base_url=gateway_base_url(gateway),
                headers={TOKEN_HEADER: token} if token and position == 0 else None,
                read_fault=_read_gateway_fault,
            )
            for position, gateway in enumerate(settings.PINATA_GATEWAY)
        ]

    def fetch_verified(self, cid: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a CID, proved by their hash.

        Raises TransientError while no gateway has the file, AccountError if the token is refused,
        ArtefactError if the file is larger than `max_bytes`, or if every gateway that answered
        served something else.
        """
        if not is_cid(cid):
            raise ArtefactError(
                f"gateway: {cid[:100]!r} is not a CID: no gateway is asked for it. "
                "Upload the file again.",
                vendor=GATEWAY,
                code="bad_cid",
            )
        failures: list[ProviderError] = []
        for client in self._clients:
            try:
                reply = client.call("GET", f"/ipfs/{cid}", idempotent=True, max_bytes=max_bytes)
            except ProviderError as error:
                failures.append(error)
                continue
            if cid_matches(reply.body, cid):
                return reply.body
            kind = reply.headers.get("Content-Type", "not given")
            text = (
                f"gateway: {len(reply.body)} bytes were served for {cid} that are not that file "
                f"(content type {kind!r}). Check the pin and the gateway's URL and token."
            )
            failures.append(ArtefactError(text, vendor=GATEWAY, code="cid_mismatch"))
        # If any gateway may still deliver, the failure is transient.
        hopeful = [error for error in failures if isinstance(error, TransientError)]
        refused = [error for error in failures if isinstance(error, AccountError)]
        raise [*hopeful, *refused, *failures][0]


def gateway_base_url(gateway: str) -> str:
    """Return the base URL of a gateway given as host or URL: `x.mypinata.cloud` → `https://…`.

    What stands before `/ipfs/<cid>`: a path `/ipfs` of its own is left out.
    """
    parts = urlsplit(gateway.strip() if "://" in gateway else f"https://{gateway.strip()}")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix("/ipfs")))


def _read_gateway_fault(reply: Reply) -> Fault:
    """Read a gateway's error reply; the body is a page for people and is kept short."""
    detail = reply.excerpt()[:120]
    if reply.status in _LATE_STATUSES:
        return Fault(detail, code="not_available", kind=TransientError)
    return Fault(detail)
