"""Fetch files from IPFS gateways and check them.

A gateway is not trusted: `fetch_verified` hashes what it got. Gateways are asked in the order of
the setting until one has the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from glisk.cid import cid_matches, is_cid
from glisk.clients.http import HttpClient, HttpOptions
from glisk.clients.http_errors import Fault, Reply
from glisk.errors import AccountError, ArtefactError, ProviderError, TransientError
from glisk.logging.redaction import register_secret

VENDOR: Final = "gateway"
TOKEN_HEADER: Final = "x-pinata-gateway-token"  # noqa: S105 - a header's name

# Not here now, but perhaps in a moment: a fresh pin reaches a gateway late, and a dedicated
# Pinata gateway answers 403 for a file that it does not yet know to be its owner's.
_LATE_STATUSES: Final = frozenset({403, 404, 410})


class GatewayClient:
    """Reads files by CID from one or several gateways."""

    def __init__(
        self, *, gateways: Sequence[str], token: str = "", options: HttpOptions | None = None
    ) -> None:
        """Take gateways as host names or URLs, with or without `/ipfs`.

        The token goes to the first gateway only, so that no public fallback ever sees it. Raises
        ValueError if there is no gateway.
        """
        register_secret(token)
        if not gateways:
            raise ValueError("PINATA_GATEWAY must name at least one gateway")
        self._clients = [
            HttpClient(
                vendor=VENDOR,
                base_url=gateway_base_url(gateway),
                headers={TOKEN_HEADER: token} if token and position == 0 else None,
                options=options,
                read_fault=read_gateway_fault,
            )
            for position, gateway in enumerate(gateways)
        ]

    @classmethod
    def from_settings(cls) -> Self:
        """Build the client from PINATA_GATEWAY, PINATA_GATEWAY_TOKEN and HTTP_* settings."""
        from django.conf import settings

        return cls(
            gateways=settings.PINATA_GATEWAY,
            token=settings.PINATA_GATEWAY_TOKEN,
            options=HttpOptions.from_settings(),
        )

    def fetch(self, cid: str, *, max_bytes: int) -> bytes:
        """Return the bytes that the first answering gateway serves for a CID, unchecked.

        Raises TransientError while no gateway has the file, AccountError if the token is
        refused, ArtefactError if the file is larger than `max_bytes`.
        """
        return self._fetch(cid, max_bytes=max_bytes, check=None)

    def fetch_verified(self, cid: str, *, max_bytes: int) -> bytes:
        """Return the bytes of a CID, proved by their hash.

        Like `fetch`, and ArtefactError if every gateway that answered served something else.
        """
        return self._fetch(cid, max_bytes=max_bytes, check=cid_matches)

    def _fetch(
        self, cid: str, *, max_bytes: int, check: Callable[[bytes, str], bool] | None
    ) -> bytes:
        if not is_cid(cid):
            raise ArtefactError(
                f"gateway: {cid[:100]!r} is not a CID: no gateway is asked for it. "
                "Upload the file again.",
                vendor=VENDOR,
                code="bad_cid",
            )
        failures: list[ProviderError] = []
        for client in self._clients:
            try:
                reply = client.call("GET", f"/ipfs/{cid}", idempotent=True, max_bytes=max_bytes)
            except ProviderError as error:
                failures.append(error)
                continue
            if check is None or check(reply.body, cid):
                return reply.body
            failures.append(_wrong_bytes(cid, reply))
        raise _worst(failures)


def gateway_base_url(gateway: str) -> str:
    """Return the base URL of a gateway given as host or URL: `x.mypinata.cloud` → `https://…`.

    What stands before `/ipfs/<cid>`: a path `/ipfs` of its own is left out.
    """
    parts = urlsplit(gateway.strip() if "://" in gateway else f"https://{gateway.strip()}")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix("/ipfs")))


def read_gateway_fault(reply: Reply) -> Fault:
    """Read a gateway's error reply; the body is a page for people and is kept short."""
    kind = TransientError if reply.status in _LATE_STATUSES else None
    code = "not_available" if reply.status in _LATE_STATUSES else None
    return Fault(detail=reply.excerpt()[:120], code=code, kind=kind)


def _wrong_bytes(cid: str, reply: Reply) -> ArtefactError:
    return ArtefactError(
        f"gateway: {len(reply.body)} bytes were served for {cid} that are not that file "
        f"(content type {reply.headers.get('Content-Type', 'not given')!r}). "
        "Check the pin and the gateway's URL and token.",
        vendor=VENDOR,
        status=reply.status,
        code="cid_mismatch",
    )


def _worst(failures: list[ProviderError]) -> ProviderError:
    """Choose what to report: if any gateway may still deliver, the failure is transient."""
    for error in failures:
        if isinstance(error, TransientError):
            return error
    for error in failures:
        if isinstance(error, AccountError):
            return error
    return failures[0]
