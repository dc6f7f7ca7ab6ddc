"""The GliskNFT contract's interface, made once from its ABI: selectors, topics, errors, texts.

web3.py's contract objects look a function up at each call (0.2 to 0.6 ms); here its codec encodes
the arguments, and the selectors are constants.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from eth_abi.exceptions import DecodingError
from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector
from web3 import Web3

from glisk.clients.chain.refusals import RevertError

# Of the contract's ABI (solc 0.8.20), what we call and read.
_ABI: Final = json.loads(Path(__file__).with_name("glisk_nft.json").read_text(encoding="ascii"))
_CODEC: Final = Web3().codec


def _selectors(kind: str) -> dict[str, str]:
    found = [entry for entry in _ABI if entry["type"] == kind]
    return {entry["name"]: "0x" + function_abi_to_4byte_selector(entry).hex() for entry in found}


def _topic(event: str) -> str:
    (entry,) = (entry for entry in _ABI if entry["name"] == event)
    return "0x" + event_abi_to_log_topic(entry).hex()


SELECTORS: Final = _selectors("function")
CUSTOM_ERRORS: Final = {selector: name for name, selector in _selectors("error").items()}
MINTED_TOPIC: Final = _topic("BatchMinted")
REVEALED_TOPIC: Final = _topic("TokensRevealed")
KEEPER_ROLE: Final = Web3.keccak(text="KEEPER_ROLE").hex()
ADMIN_ROLE: Final = "00" * 32

# Solidity's own reverts: https://docs.soliditylang.org/en/v0.8.20/control-structures.html
_ERROR_STRING: Final = "0x08c379a0"
_PANIC: Final = "0x4e487b71"


def word(value: int) -> str:
    """Return a number as the 32-byte word of an argument, hex without 0x."""
    return f"{value:064x}"


def encode_reveal(token_ids: Sequence[int], uris: Sequence[str]) -> str:
    """Return the call data of `revealTokens(uint256[], string[])`, hex with 0x."""
    arguments = _CODEC.encode(["uint256[]", "string[]"], [list(token_ids), list(uris)])
    return SELECTORS["revealTokens"] + arguments.hex()


def decode_one(kind: str, data: Any) -> Any:
    """Return the one value that hex data holds, or None if it holds none of this kind."""
    try:
        return _CODEC.decode([kind], bytes.fromhex(str(data).removeprefix("0x")))[0]
    except (DecodingError, ValueError, OverflowError):
        return None


def revealed_ids(log: dict[str, Any]) -> list[int]:
    """Return the token ids of a TokensRevealed log; empty if it cannot be read."""
    return list(decode_one("uint256[]", log.get("data")) or [])


def already_revealed_id(error: RevertError) -> int | None:
    """Return the token id of an AlreadyRevealed(uint256) revert, or None for another one."""
    if CUSTOM_ERRORS.get(error.data[:10]) != "AlreadyRevealed":
        return None
    token_id: int | None = decode_one("uint256", error.data[10:])
    return token_id


def revert_reason(error: RevertError) -> str:
    """Return what the contract says, in words: `AlreadyRevealed(7)`, a text, a panic."""
    selector, arguments = error.data[:10], error.data[10:]
    if (token_id := already_revealed_id(error)) is not None:
        return f"AlreadyRevealed({token_id})"
    if selector in CUSTOM_ERRORS:
        return CUSTOM_ERRORS[selector]
    if selector == _ERROR_STRING and (text := decode_one("string", arguments)) is not None:
        return str(text)
    if selector == _PANIC and (code := decode_one("uint256", arguments)) is not None:
        return f"Panic(0x{code:02x})"
    return f"unknown error {error.data[:74]}" if error.data else "no reason given"
