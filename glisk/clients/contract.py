"""The GliskNFT contract's interface: selectors, roles, errors, and the call of a reveal.

Source: the contract's ABI, compiled with solc 0.8.20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from glisk.clients.rpc import RevertError

SELECTORS: Final = {
    "revealTokens": "0x53de7804",
    "isRevealed": "0x5055fbc3",
    "tokenURI": "0xc87b56dd",
    "nextTokenId": "0x75794a3c",
    "tokenPromptAuthor": "0x7c407c92",
    "hasRole": "0x91d14854",
}
KEEPER_ROLE: Final = "fc8737ab85eb45125971625a9ebdb75cc78e01d5c1fa80c4c6e5203f47bc4fab"
ADMIN_ROLE: Final = "00" * 32

# Custom errors of the contract: selector → name. AlreadyRevealed carries the token id.
CUSTOM_ERRORS: Final = {
    "0xa3a57894": "AlreadyRevealed",
    "0xff633a38": "LengthMismatch",
    "0xe2517d3f": "AccessControlUnauthorizedAccount",
    "0x7e273289": "ERC721NonexistentToken",
}


def encode_reveal(token_ids: Sequence[int], uris: Sequence[str]) -> str:
    """Return the call data of `revealTokens(uint256[], string[])`, hex with 0x."""
    arguments = encode(["uint256[]", "string[]"], [list(token_ids), list(uris)])
    return SELECTORS["revealTokens"] + arguments.hex()


def already_revealed_id(error: RevertError) -> int | None:
    """Return the token id of an AlreadyRevealed(uint256) revert, or None for another one."""
    if CUSTOM_ERRORS.get(error.data[:10]) != "AlreadyRevealed":
        return None
    try:
        return int(decode(["uint256"], bytes.fromhex(error.data[10:]))[0])
    except (ValueError, DecodingError):  # not the argument that the contract gives it
        return None


def word(value: int) -> str:
    """Return a number as the 32-byte word of an argument, hex without 0x."""
    return f"{value:064x}"
