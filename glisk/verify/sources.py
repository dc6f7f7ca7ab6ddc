"""Where the facts come from that nobody can bend: any node, and any IPFS gateway.

A gateway need not be trusted: its bytes are hashed. A node is trusted as far as its operator is, so
ask one of your own, or several.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from glisk.cid import cid_matches

TIMEOUT_SECONDS: Final = 60.0  # in all, for one file or answer
MOST_BYTES: Final = 64 * 2**20
# Public ones: https://docs.base.org/base-chain/quickstart/connecting-to-base
NODES: Final[Mapping[int, str]] = {
    8453: "https://mainnet.base.org",
    84532: "https://sepolia.base.org",
}
GATEWAY: Final = "https://ipfs.io"
# GLISK's own, by chain.
CONTRACTS: Final[Mapping[int, str]] = {
    8453: "0xb43185E67D4Fb27115AC419C9F8A335cC0B837B9",
    84532: "0x569d456c584Ac2bb2d66b075a31278630E7d43a0",
}

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
        """Return a file's bytes. Raises `Unreachable`, also if they are not that file's."""
        data = _fetch(f"{self._url}/ipfs/{cid}")
        if not cid_matches(data, cid):
            raise Unreachable(f"{_host(self._url)} sends other bytes than those of {cid}")
        return data


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


def _opener() -> urllib.request.OpenerDirector:
    """Return one that follows redirects to HTTP addresses only; the usual one knows FTP too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _fetch(url: str, body: bytes | None = None) -> bytes:
    """Return what an address answers. Raises `Unreachable`.

    A thread of its own asks, because one that sends a byte now and then would hold us for ever.
    """
    late = Unreachable(f"{_host(url)} takes longer than {TIMEOUT_SECONDS:g} s")
    answers: list[bytes | Exception] = []

    def ask() -> None:
        try:
            answers.append(_ask(url, body))
        except Exception as error:  # noqa: BLE001 - for the caller, whatever it is
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    answer = answers[0] if answers else late
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ask(url: str, body: bytes | None) -> bytes:
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise Unreachable("an address with a user's name is not supported")
    # Some gateways refuse what Python calls itself by default.
    headers = {"User-Agent": "glisk-verify", "Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - by `_opener`
        with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
            data: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise Unreachable(f"{_host(url)} does not answer: {error}") from None
    except OSError as error:
        raise Unreachable(f"{_host(url)} does not answer: {error}") from error
    except (http.client.HTTPException, ValueError) as error:  # whose text may hold a password
        raise Unreachable(f"{_host(url)} does not answer: {type(error).__name__}") from error
    if len(data) > MOST_BYTES:
        raise Unreachable(f"{_host(url)} sends more than {MOST_BYTES:,} bytes")
    return data


def _host(url: str) -> str:
    """Name a source without its path or user, where keys stand."""
    with suppress(ValueError):
        return urlsplit(url).hostname or "an address without a host"
    return "what is no address"
