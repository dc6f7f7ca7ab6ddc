"""Who owns a Farcaster account, and what it is called.

Ownership is on Optimism (https://docs.farcaster.xyz/reference/contracts): the custody address by
IdRegistry, auth addresses, which sign in for an account, by KeyRegistry as keys of type 2. The
name is the fname registry's (https://docs.farcaster.xyz/reference/fname/api).
"""

from __future__ import annotations

from contextlib import closing
from functools import lru_cache
from typing import Any, Final

from django.conf import settings

from glisk.clients.chain import Call, RpcClient, ok
from glisk.clients.http import HttpClient, HttpOptions
from glisk.errors import AccountError, InvalidRequestError, TransientError

VENDOR: Final = "farcaster"
OPTIMISM_CHAIN_ID: Final = 10
ID_REGISTRY: Final = "0x00000000Fc6c5F01Fc30151999387Bb99A9f489b"
KEY_REGISTRY: Final = "0x00000000fc1237824fb747abde0ff18990e59b7e"

_ID_OF: Final = "0xd94fe832"
_KEY_DATA_OF: Final = "0xac34cc5a"
_KEY_ADDED: Final = 1
_AUTH_ADDRESS: Final = 2


_node = lru_cache(maxsize=4)(RpcClient)


def owns_account(*, address: str, fid: int) -> bool:
    """Say whether the address is the account's custody or auth address, by OPTIMISM_RPC_URL.

    Raises AccountError if the node is none of Optimism, or another `ProviderError`.
    """
    from eth_abi.abi import encode

    custody = encode(["address"], [address])
    key = encode(["uint256", "bytes"], [fid, custody])
    calls: list[Call] = [
        ("eth_chainId", []),
        ("eth_call", [{"to": ID_REGISTRY, "data": _ID_OF + custody.hex()}, "latest"]),
        ("eth_call", [{"to": KEY_REGISTRY, "data": _KEY_DATA_OF + key.hex()}, "latest"]),
    ]
    answers = _node(settings.OPTIMISM_RPC_URL).batch(calls)
    chain_id, custody_of, key_data = map(ok, answers)
    if chain_id != hex(OPTIMISM_CHAIN_ID):
        raise AccountError("OPTIMISM_RPC_URL is no node of Optimism.", vendor=VENDOR)
    if _words(custody_of, 1) == [fid]:
        return True
    return _words(key_data, 2) == [_KEY_ADDED, _AUTH_ADDRESS]


def name_of_account(fid: int) -> str | None:
    """Return the account's name at FARCASTER_NAME_URL, None without one, or raise ProviderError."""
    http = HttpClient(
        vendor=VENDOR,
        base_url=settings.FARCASTER_NAME_URL,
        options=HttpOptions.from_settings(longest=settings.LINK_TIMEOUT_SECONDS),
    )
    with closing(http):
        try:
            reply = http.call(
                "GET", "/transfers/current", idempotent=True, params={"fid": str(fid)}
            )
        except InvalidRequestError as error:
            if error.status == 404:
                return None
            raise
    transfer = reply.json_object().get("transfer")
    if not isinstance(transfer, dict) or not isinstance(transfer.get("username"), str):
        raise TransientError("farcaster: the answer names no transfer.", vendor=VENDOR)
    # The newest transfer of a name says who has it now; another fid means that it moved on.
    return str(transfer["username"]) if transfer.get("to") == fid else None


def _words(answer: Any, count: int) -> list[int]:
    try:
        raw = bytes.fromhex(answer.removeprefix("0x"))
    except (AttributeError, ValueError):
        raise TransientError("farcaster: the node's answer is no number.", vendor=VENDOR) from None
    if len(raw) != 32 * count:
        raise AccountError("OPTIMISM_RPC_URL shows no Farcaster registries.", vendor=VENDOR)
    return [int.from_bytes(raw[at : at + 32], "big") for at in range(0, len(raw), 32)]
