"""Sign with a private key that this process has: given itself, or read from a file at first use."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glisk.clients.signers import VENDOR, SignedTransaction
from glisk.config.keys import judge_key
from glisk.errors import AccountError
from glisk.logging.redaction import register_secret

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


class KeySigner:
    """Signs in 8 ms. Deterministic: equal input, equal bytes (RFC 6979)."""

    def __init__(self, private_key: str) -> None:
        from eth_account import Account  # half a second of CPU

        self._account: LocalAccount = Account.from_key(private_key)
        self.address = str(self._account.address)

    def sign(self, transaction: dict[str, Any]) -> SignedTransaction:
        signed = self._account.sign_transaction(transaction)
        return SignedTransaction(signed.hash.to_0x_hex(), bytes(signed.raw_transaction))


class FileSigner:
    """Reads its key when it signs for the first time: only the process that signs gets to know it.

    The file was judged at the start, and its address is known since then.
    """

    def __init__(self, path: str, *, address: str) -> None:
        self._path, self.address = path, address

    @cached_property
    def _signer(self) -> KeySigner:
        try:
            key = Path(self._path).read_text(encoding="ascii").strip()
            problem = judge_key(key).problem
        except (OSError, UnicodeDecodeError) as error:
            key, problem = "", f"cannot be read ({type(error).__name__})"
        if problem:
            text = f"The keeper's key file {problem}."
            raise AccountError(text, vendor=VENDOR, code="unreadable_key")
        register_secret(key)
        return KeySigner(key)

    def sign(self, transaction: dict[str, Any]) -> SignedTransaction:
        return self._signer.sign(transaction)
