"""What a wallet signs, and the proof that it wants exactly this.

Two kinds of message are taken. The stronger one is offered by us: it names domain, chain, wallet,
action and the hash of the value, works once and expires after some minutes. The legacy one is a
fixed text per wallet and action; LEGACY_SIGNATURES=false turns it off.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import get_random_string

from authors.models import Action, SignInNonce
from authors.signatures.eip4361 import SignInMessage
from authors.signatures.wallet_signature import verify_signature
from glisk.clients.smart_wallets import client_at
from glisk.errors import GliskError

_NONCE_LENGTH: Final = 24
_NONCE_LINE: Final = re.compile(r"^Nonce: ([A-Za-z0-9]{24})$", re.MULTILINE | re.ASCII)
_ASK_AGAIN: Final = "Ask for a new one and sign again."
_USED: Final = f"This message was used already. {_ASK_AGAIN}"

STATEMENTS: Final = {
    Action.UPDATE_PROMPT: "Update my GLISK prompt.",
    Action.LINK_X: "Link my X account to my GLISK wallet.",
    Action.LINK_FARCASTER: "Link my Farcaster account to my GLISK wallet.",
}
_LEGACY: Final = {
    Action.UPDATE_PROMPT: "Update GLISK prompt for wallet: ",
    Action.LINK_X: "Link X account for wallet: ",
    Action.LINK_FARCASTER: "Link Farcaster account for wallet: ",
}


class InvalidMessage(GliskError):
    """The signed message does not allow what is asked for; the text says why, for people."""

    error_class = "invalid_message"


def legacy_message(action: Action, wallet: str) -> str:
    """Return the fixed text that the frontend has signed for the action so far.

    It names wallet and action and nothing else: whoever sees the signature once can use it again
    (docs/adr/0008-signed-actions.md).
    """
    return _LEGACY[action] + wallet


def hash_of(value: str) -> str:
    """Return what stands for a value in a message: SHA-256 of its UTF-8 bytes, in hex."""
    return hashlib.sha256(value.encode("utf-8")).hexdigest()


def is_allowed_site(site: str) -> bool:
    """Say whether this host, or host:port, is one of our sites."""
    site = site.lower()
    return any(
        site == allowed or (allowed.startswith("*.") and site.endswith(allowed[1:]))
        for allowed in settings.SIGN_IN_DOMAIN
    )


def asking_site(request: HttpRequest) -> str:
    """Return the site whose page asks, if it is one of ours, else the first of ours.

    A wallet warns its owner if the message names another site than the one that it is shown on.
    """
    for header in ("Origin", "Referer"):  # browsers send no Origin with a GET to their own site
        with suppress(ValueError):
            site = urlsplit(request.headers.get(header, "")).netloc.lower()
            if site and is_allowed_site(site):
                return site
    return str(settings.SIGN_IN_DOMAIN[0])


def offer_message(*, wallet: str, action: str, site: str, value_hash: str = "") -> SignInNonce:
    """Store and return a new message for the wallet to sign on a site of ours."""
    action = Action(action)
    now = timezone.now().replace(microsecond=0)
    nonce = get_random_string(_NONCE_LENGTH)
    expires_at = now + timedelta(seconds=settings.SIGN_IN_SECONDS)
    message = SignInMessage(
        domain=site,
        address=wallet,
        statement=STATEMENTS[action],
        uri=f"{urlsplit(settings.FRONTEND_URL).scheme}://{site}",  # served as the frontend is
        chain_id=settings.CHAIN_ID,
        nonce=nonce,
        issued_at=now,
        expires_at=expires_at,
        resources=(f"urn:glisk:{action}" + (f":sha256:{value_hash}" if value_hash else ""),),
    )
    return SignInNonce.objects.create(
        nonce=nonce,
        wallet_address=wallet,
        action=action,
        value_hash=value_hash,
        message=message.text,
        expires_at=expires_at,
    )


def nonce_of(*, wallet: str, action: Action, value: str, message: str) -> str:
    """Return the nonce of a message that was offered for just this and can be used.

    Raises:
        InvalidMessage: it was not offered, or for something else, or it is used up or expired.
    """
    found = _NONCE_LINE.search(message)
    of_this = {"message": message, "wallet_address": wallet, "action": action}
    offered = found and SignInNonce.objects.filter(nonce=found[1], **of_this).first()
    if not offered:
        raise InvalidMessage(
            "The signed message is not the one for this wallet and action: sign the one of "
            "GET /api/authors/{wallet}/nonce."
        )
    if offered.used_at is not None:
        raise InvalidMessage(_USED)
    if offered.expires_at <= timezone.now():
        raise InvalidMessage(f"This message has expired. {_ASK_AGAIN}")
    if offered.value_hash != (hash_of(value) if value else ""):
        raise InvalidMessage(f"The signed message is for another value. {_ASK_AGAIN}")
    return offered.nonce


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
        if self.nonce is None:
            return
        now = timezone.now()
        offered = SignInNonce.objects.filter(nonce=self.nonce, used_at=None, expires_at__gt=now)
        if not offered.update(used_at=now):  # of several at the same moment one succeeds
            raise InvalidMessage(_USED)


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
    if not settings.LEGACY_SIGNATURES or message != legacy_message(action, wallet):
        nonce = nonce_of(wallet=wallet, action=action, value=value, message=message)
    verify_signature(
        wallet=wallet, message=message, signature=signature, chain=client_at(settings.RPC_URL)
    )
    return Proof(wallet, nonce)
