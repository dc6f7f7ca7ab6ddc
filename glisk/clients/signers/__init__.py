"""Who signs the keeper's transactions: a key of this process, or one that never leaves AWS KMS.

A signer is asked in a thread, without the database. Its faults concern every transaction, so they
are of the error tree, with the vendor "signer": transient ones pass, an `AccountError` needs an
operator. Signatures of KMS differ each time: equal input gives other bytes, and another hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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
