"""Whether a signature is the wallet's: a key's own (EIP-191), or one that its contract accepts.

The checks are stricter than the libraries': eth-account takes high-s twins of a signature and any
v. An EOA has one signature form here, 65 bytes; what else a wallet may send, only its contract
can judge (ERC-1271, ERC-6492), whatever the length: a Safe that signed on chain sends none at all.
"""

from __future__ import annotations

import re
from typing import Final

import structlog

from glisk.clients.http import UNANSWERED
from glisk.clients.smart_wallets import ERC6492_SUFFIX, SmartWalletClient
from glisk.config.addresses import keccak256
from glisk.errors import GliskError, ProviderError

logger = structlog.get_logger(__name__)

EOA_SIGNATURE_BYTES: Final = 65
# A passkey's signature with the making of its wallet stays below 4,000 bytes.
MAX_SIGNATURE_BYTES: Final = 8192
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_EXPLANATIONS: Final = {
    "not_hex": "The signature is not hex text that begins with 0x.",
    "too_long": f"The signature is longer than {MAX_SIGNATURE_BYTES} bytes.",
    "length": "The signature of a plain wallet has 65 bytes.",
    "v": "The last byte of the signature must be 27 or 28.",
    "range": "The signature's r or s is out of range.",
    "high_s": "The signature's s is in the upper half of its range.",
    "other_signer": "",
}


class InvalidSignature(GliskError):
    """The signature is not the wallet's; `explanation` says more, where there is more to say."""

    error_class = "invalid_signature"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.explanation = _EXPLANATIONS[fault]
        super().__init__(f"invalid signature: {fault}")


def eip191_digest(message: str) -> bytes:
    """Return the hash that a wallet signs for a text (EIP-191, version 0x45)."""
    body = message.encode("utf-8")
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(body)).encode("ascii") + body)


def verify_signature(
    *, wallet: str, message: str, signature: str, chain: SmartWalletClient
) -> None:
    """Return if the wallet signed the message; `chain` is asked only where a key is not enough.

    Raises:
        InvalidSignature: it did not, or the signature is malformed.
        ProviderError: only the wallet's contract can tell, and the chain cannot be asked.
    """
    given = _bytes_of(signature)
    digest = eip191_digest(message)
    fault = "length"
    if len(given) == EOA_SIGNATURE_BYTES and not given.endswith(ERC6492_SUFFIX):
        try:
            if _signer(digest, given) == wallet:
                return
            fault = "other_signer"
        except InvalidSignature as error:
            fault = error.fault
    may_be_contracts = given.endswith(ERC6492_SUFFIX) or _has_contract(chain, wallet, given)
    if not may_be_contracts or not chain.accepts(wallet=wallet, digest=digest, signature=given):
        raise InvalidSignature(fault)


def _has_contract(chain: SmartWalletClient, wallet: str, given: bytes) -> bool:
    """Say whether the wallet is a contract; raise `ProviderError` if nobody can tell."""
    try:
        return chain.has_contract(wallet)
    except ProviderError as error:
        # A node that answers, if only by a fault of its own, can be asked again in a moment.
        if error.code not in UNANSWERED or not 0 < len(given) <= EOA_SIGNATURE_BYTES:
            raise
        # Nearly always a plain wallet, which the chain would not have helped.
        logger.warning("signature_refused_without_chain", wallet=wallet, error=str(error))
        return False


def _bytes_of(signature: str) -> bytes:
    if not _HEX.fullmatch(signature):
        raise InvalidSignature("not_hex")
    if len(signature) > 2 + 2 * MAX_SIGNATURE_BYTES:
        raise InvalidSignature("too_long")
    return bytes.fromhex(signature[2:])


def _signer(digest: bytes, signature: bytes) -> str:
    """Return the address whose key signed; raise `InvalidSignature` for anything not canonical."""
    from eth_keys import keys
    from eth_keys.exceptions import BadSignature, ValidationError

    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    v = signature[64]
    if v in (0, 1):  # some hardware wallets leave 27 out
        v += 27
    if v not in (27, 28):
        raise InvalidSignature("v")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        raise InvalidSignature("range")
    if s > _ORDER // 2:  # EIP-2: the twin of a valid signature
        raise InvalidSignature("high_s")
    try:
        key = keys.Signature(vrs=(v - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        raise InvalidSignature("other_signer") from None
    return str(key.to_checksum_address())
