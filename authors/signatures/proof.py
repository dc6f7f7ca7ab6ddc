"""Proof that a wallet wants exactly this: the message says so, and the wallet signed it.

Two kinds of message are taken. The stronger one is offered by us (offers.py): it names domain,
chain, wallet, action and the hash of the value, works once and expires. The legacy one is a fixed
text per wallet and action; LEGACY_SIGNATURES=false turns it off.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from authors.signatures.actions import Action, legacy_message
from authors.signatures.offers import InvalidMessage, nonce_of, spend_nonce
from authors.signatures.wallet_signature import verify_signature
from glisk.clients.smart_wallets import client_at


@dataclass(frozen=True)
class Proof:
    """A wallet's consent, checked but not yet used up."""

    wallet: str
    nonce: str | None  # None: a legacy message

    def spend(self) -> None:
        """Use the message up, in the transaction of what it allows.

        Raises:
            InvalidMessage: somebody used it in the meantime, or it expired.
        """
        if self.nonce is not None:
            spend_nonce(self.nonce)


def prove(*, wallet: str, action: Action, value: str, message: str, signature: str) -> Proof:
    """Check that the wallet signed a message for this action and value.

    `wallet` has its checksum; `value` is "" where the action has none. No transaction may be
    open: the signature of a smart wallet is checked on chain.

    Raises:
        InvalidMessage: the message allows something else, is used up or expired.
        InvalidSignature: the wallet did not sign it.
        ProviderError: only the chain can tell, and it does not answer.
    """
    nonce = None
    if message != legacy_message(action, wallet):
        nonce = nonce_of(wallet=wallet, action=action, value=value, message=message)
    elif not settings.LEGACY_SIGNATURES:
        raise InvalidMessage(
            "This message is no longer accepted. "
            "Ask GET /api/authors/{wallet}/nonce for the message to sign."
        )
    verify_signature(
        wallet=wallet, message=message, signature=signature, chain=client_at(settings.RPC_URL)
    )
    return Proof(wallet, nonce)
