"""OpenSea's metadata refresh: marketplaces keep the placeholder until somebody asks them to look.

The contract emits no ERC-4906 event, so nobody else tells them. Endpoint:
https://docs.opensea.io/reference/refresh-nft-metadata (API v2, header `x-api-key`); asking again is
harmless.
"""

from __future__ import annotations

from typing import Final, Self

from glisk.clients.http import Fault, HttpClient, HttpOptions, Reply
from glisk.logging.redaction import register_secret

VENDOR: Final = "opensea"
_CHAINS: Final = {"BASE_MAINNET": "base", "BASE_SEPOLIA": "base_sepolia", "LOCAL": "base"}


class OpenSeaClient:
    """Asks for refreshes of one contract's tokens. Thread-safe."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        network: str,
        contract_address: str,
        options: HttpOptions | None = None,
    ) -> None:
        register_secret(api_key)
        self._path = f"/api/v2/chain/{_CHAINS[network]}/contract/{contract_address}/nfts"
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=base_url,
            headers={"x-api-key": api_key, "Accept": "application/json"},
            options=options,
            read_fault=_read_fault,
        )
        self.close = self._http.close

    @classmethod
    def from_settings(cls) -> Self:
        from django.conf import settings

        return cls(
            base_url=settings.OPENSEA_API_URL,
            api_key=settings.OPENSEA_API_KEY,
            network=settings.NETWORK,
            contract_address=settings.GLISK_NFT_CONTRACT_ADDRESS,
            options=HttpOptions.from_settings(),
        )

    def refresh(self, token_id: int) -> None:
        """Have OpenSea read a token's metadata again.

        Raises AccountError for a refused key, TransientError for an outage or a rate limit,
        InvalidRequestError for a token that OpenSea does not know (yet).
        """
        self._http.call("POST", f"{self._path}/{token_id}/refresh", idempotent=True)


def _read_fault(reply: Reply) -> Fault:
    """Read OpenSea's `{"errors": ["…"]}`; anything else is shown as it is."""
    errors = reply.json_object().get("errors")
    if isinstance(errors, list) and errors:
        return Fault("; ".join(map(str, errors))[:300])
    return Fault(reply.excerpt())
