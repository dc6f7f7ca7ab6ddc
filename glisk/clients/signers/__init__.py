"""Who signs the keeper's transactions: a key of this process, or one that never leaves AWS KMS.

A signer is asked in a thread, without the database. Its faults concern every transaction, so they
are of the error tree, with the vendor "signer": transient ones pass, an `AccountError` needs an
operator. Signatures of KMS differ each time: equal input gives other bytes, and another hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings

from glisk.errors import AccountError

VENDOR = "signer"


@dataclass(frozen=True)
class SignedTransaction:
    """The bytes that a node takes, and their keccak-256 hash (0x and 64 hex digits)."""

    tx_hash: str
    raw: bytes


class Signer(Protocol):
    """Signs transactions as one address (EIP-55), which is known without asking anybody."""

    address: str

    def sign(self, transaction: dict[str, Any]) -> SignedTransaction:
        """Sign a type 2 transaction, given by the names of JSON-RPC; raises `ProviderError`."""


def can_sign() -> bool:
    """Tell whether this process has a signer."""
    key, file = settings.KEEPER_PRIVATE_KEY, settings.KEEPER_KEY_FILE.path
    return bool(settings.KEEPER_KMS_KEY_ID or key or file)


def signer_from_settings() -> Signer:
    """Return the keeper's signer; no key is read and nobody is asked before it signs."""
    if settings.KEEPER_KMS_KEY_ID:
        from glisk.clients.signers.kms import KmsSigner

        return KmsSigner(settings.KEEPER_KMS_KEY_ID, address=settings.KEEPER_ADDRESS)
    from glisk.clients.signers.local import FileSigner, KeySigner

    if settings.KEEPER_PRIVATE_KEY:
        return KeySigner(settings.KEEPER_PRIVATE_KEY)
    return FileSigner(settings.KEEPER_KEY_FILE.path, address=settings.KEEPER_KEY_FILE.address)


def check_signer(signed: SignedTransaction, address: str) -> None:
    """Raise `AccountError` unless these bytes are a transaction of this address."""
    from eth_account import Account

    if Account.recover_transaction(signed.raw) != address:
        raise wrong_key(address)


def wrong_key(address: str) -> AccountError:
    return AccountError(
        f"The signer's key is not that of the keeper {address}. Nothing is sent.",
        vendor=VENDOR,
        code="wrong_key",
    )
