"""Reveals that are only tried: would they revert, and what does the contract say?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from glisk.clients.chain import CUSTOM_ERRORS, already_revealed_id, encode_reveal
from glisk.clients.rpc import Call, RevertError, RpcClient
from glisk.errors import ProviderError

# Solidity's own reverts: https://docs.soliditylang.org/en/v0.8.20/control-structures.html
_ERROR_STRING: Final = "0x08c379a0"
_PANIC: Final = "0x4e487b71"

Reveal = tuple[Sequence[int], Sequence[str]]  # token ids, URIs


def simulate_reveals(
    rpc: RpcClient, *, contract: str, keeper: str, reveals: Sequence[Reveal]
) -> list[RevertError | None]:
    """Try each reveal by itself on the newest block, all in one round trip; None if it would work.

    Raises the errors of the RPC client for a node that does not answer one of them.
    """
    calls: list[Call] = [
        (
            "eth_call",
            [{"from": keeper, "to": contract, "data": encode_reveal(ids, uris)}, "latest"],
        )
        for ids, uris in reveals
    ]
    return [_outcome(answer) for answer in rpc.batch(calls)]


def explain_revert(
    rpc: RpcClient, *, contract: str, keeper: str, data: str, gas_limit: int, block_number: int
) -> RevertError | None:
    """Repeat a transaction that reverted, at the end of its block; None if it works there.

    Raises the errors of the RPC client, a `ProviderError` too for what is no revert ("out of gas").
    """
    transaction = {"from": keeper, "to": contract, "data": data, "gas": hex(gas_limit)}
    try:
        rpc.call("eth_call", transaction, hex(block_number))
    except RevertError as error:
        return error
    return None


def revert_reason(error: RevertError) -> str:
    """Return what the contract says, in words: `AlreadyRevealed(7)`, a text, a panic."""
    selector, arguments = error.data[:10], error.data[10:]
    token_id = already_revealed_id(error)
    if token_id is not None:
        return f"AlreadyRevealed({token_id})"
    if selector in CUSTOM_ERRORS:
        return CUSTOM_ERRORS[selector]
    try:
        if selector == _ERROR_STRING:
            return str(decode(["string"], bytes.fromhex(arguments))[0])
        if selector == _PANIC:
            return f"Panic(0x{decode(['uint256'], bytes.fromhex(arguments))[0]:02x})"
    except (ValueError, DecodingError, OverflowError):
        pass
    return f"unknown error {error.data[:74]}" if error.data else "no reason given"


def _outcome(answer: object) -> RevertError | None:
    if isinstance(answer, RevertError):
        return answer
    if isinstance(answer, ProviderError):
        raise answer
    return None
