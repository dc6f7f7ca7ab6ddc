"""OpenSea's metadata refresh: marketplaces keep the placeholder until somebody asks them to look.

The contract emits no ERC-4906 event, so nobody else tells them. Endpoint:
https://docs.opensea.io/reference/refresh-nft-metadata (API v2, header `x-api-key`); asking again is
harmless.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from glisk.clients.http import HttpClient

VENDOR: Final = "opensea"
_CHAINS: Final = {"BASE_MAINNET": "base", "BASE_SEPOLIA": "base_sepolia", "LOCAL": "base"}


class OpenSeaClient:
    """Asks for refreshes of our contract's tokens, by the OPENSEA_* settings. Thread-safe."""

    def __init__(self) -> None:
        chain, contract = _CHAINS[settings.NETWORK], settings.GLISK_NFT_CONTRACT_ADDRESS
        self._path = f"/api/v2/chain/{chain}/contract/{contract}/nfts"
        self._http = HttpClient(
            vendor=VENDOR,
            base_url=settings.OPENSEA_API_URL,
            headers={"x-api-key": settings.OPENSEA_API_KEY, "Accept": "application/json"},
        )
        self.close = self._http.close

    def refresh(self, token_id: int) -> None:
        """Have OpenSea read a token's metadata again.

        Raises AccountError for a refused key, TransientError for an outage or a rate limit,
        InvalidRequestError for a token that OpenSea does not know (yet).
        """
        self._http.call("POST", f"{self._path}/{token_id}/refresh", idempotent=True)
