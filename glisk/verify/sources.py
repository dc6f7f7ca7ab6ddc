"""Where the facts come from that nobody can bend: any node, and any IPFS gateway.

A gateway need not be trusted: its bytes are hashed. A node is trusted as far as its operator is, so
ask one of your own, or several.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 30.0
MOST_BYTES: Final = 64 * 2**20
# Public ones: https://docs.base.org/base-chain/quickstart/connecting-to-base
NODES: Final[Mapping[int, str]] = {
    8453: "https://mainnet.base.org",
    84532: "https://sepolia.base.org",
}
GATEWAY: Final = "https://ipfs.io"

# Of the contract (solc 0.8.20): the first four bytes of keccak256 of the signature.
_URI: Final = "0xc87b56dd"  # tokenURI(uint256)
_IS_REVEALED: Final = "0x5055fbc3"  # isRevealed(uint256)
_PROMPT_AUTHOR: Final = "0x7c407c92"  # tokenPromptAuthor(uint256)


class Unreachable(Exception):
    """A source did not answer, or not usably: that says nothing about the token."""


class Gateway:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, cid: str) -> bytes:
        """Return a file's bytes. Raises `Unreachable`."""
        return _fetch(f"{self._url}/ipfs/{cid}")


class Node:
    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, method: str, *params: object) -> Any:
        """Return the result of one JSON-RPC call. Raises `Unreachable`."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = json.loads(_fetch(self._url, json.dumps(asked).encode()))
        except ValueError as error:
            raise Unreachable("the node's answer is not JSON") from error
        if not isinstance(answer, dict) or "result" not in answer:
            told = answer.get("error") if isinstance(answer, dict) else answer
            raise Unreachable(f"the node refuses {method}: {str(told)[:200]}")
        return answer["result"]

    def chain_id(self) -> int:
        return int(self.call("eth_chainId"), 16)

    def receipt(self, tx_hash: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.call("eth_getTransactionReceipt", tx_hash)
        return found

    def block_time(self, block_hash: str) -> int | None:
        """Return a block's time in seconds since 1970; None if the chain has no such block."""
        block = self.call("eth_getBlockByHash", block_hash, False)
        return int(block["timestamp"], 16) if block else None

    def token_uri(self, contract: str, token_id: int) -> str:
        data = self._view(contract, _URI, token_id)
        start = int.from_bytes(data[:32])
        length = int.from_bytes(data[start : start + 32])
        return data[start + 32 : start + 32 + length].decode("utf-8", "replace")

    def is_revealed(self, contract: str, token_id: int) -> bool:
        return any(self._view(contract, _IS_REVEALED, token_id))

    def author(self, contract: str, token_id: int) -> str:
        """Return the prompt author's wallet, in lower case."""
        return "0x" + self._view(contract, _PROMPT_AUTHOR, token_id)[-20:].hex()

    def _view(self, contract: str, selector: str, token_id: int) -> bytes:
        call = {"to": contract, "data": f"{selector}{token_id:064x}"}
        return bytes.fromhex(str(self.call("eth_call", call, "latest")).removeprefix("0x"))


def _fetch(url: str, body: bytes | None = None) -> bytes:
    host = urlsplit(url).netloc
    if not url.startswith(("http://", "https://")):
        raise Unreachable(f"not an HTTP address: {url}")
    # Some gateways refuse what Python calls itself by default.
    headers = {"User-Agent": "glisk-verify", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            data: bytes = answer.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(f"{host} does not answer: {error}") from error
    if len(data) > MOST_BYTES:
        raise Unreachable(f"{host} sends more than {MOST_BYTES:,} bytes")
    return data
