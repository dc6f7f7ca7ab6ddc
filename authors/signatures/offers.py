"""Messages that we offer a wallet to sign: one action, one value, once, for some minutes."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from authors.models import SignInNonce
from authors.signatures.actions import STATEMENTS, Action
from authors.signatures.eip4361 import SignInMessage
from authors.signatures.sites import address_of
from glisk.errors import GliskError

_NONCE_LENGTH: Final = 24
_NONCE_LINE: Final = re.compile(r"^Nonce: ([A-Za-z0-9]{24})$", re.MULTILINE | re.ASCII)

_UNKNOWN: Final = "The signed message is not the one for this wallet and action."
_USED: Final = "This message was used already. Ask for a new one and sign again."
_EXPIRED: Final = "This message has expired. Ask for a new one and sign again."
_OTHER_VALUE: Final = "The signed message is for another value. Ask for a new one and sign again."


class InvalidMessage(GliskError):
    """The signed message does not allow what is asked for; the text says why, for people."""

    error_class = "invalid_message"


def hash_of(value: str) -> str:
    """Return what stands for a value in a message: SHA-256 of its UTF-8 bytes, in hex."""
    return hashlib.sha256(value.encode("utf-8")).hexdigest()


def offer_message(
    *, wallet: str, action: Action, value_hash: str = "", site: str = ""
) -> SignInNonce:
    """Store and return a new message for the wallet to sign on a site of ours, or the first."""
    site = site or settings.SIGN_IN_DOMAIN[0]
    now = timezone.now().replace(microsecond=0)
    nonce = "".join(
        secrets.choice(string.ascii_letters + string.digits) for _ in range(_NONCE_LENGTH)
    )
    expires_at = now + timedelta(seconds=settings.SIGN_IN_SECONDS)
    purpose = f"urn:glisk:{action}" + (f":sha256:{value_hash}" if value_hash else "")
    message = SignInMessage(
        domain=site,
        address=wallet,
        statement=STATEMENTS[action],
        uri=address_of(site),
        chain_id=settings.CHAIN_ID,
        nonce=nonce,
        issued_at=now,
        expires_at=expires_at,
        resources=(purpose,),
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
    offered = SignInNonce.objects.filter(nonce=found[1]).first() if found else None
    if (
        offered is None
        or offered.message != message
        or offered.wallet_address != wallet
        or offered.action != action
    ):
        raise InvalidMessage(_UNKNOWN)
    if offered.used_at is not None:
        raise InvalidMessage(_USED)
    if offered.expires_at <= timezone.now():
        raise InvalidMessage(_EXPIRED)
    if offered.value_hash != (hash_of(value) if value else ""):
        raise InvalidMessage(_OTHER_VALUE)
    return offered.nonce


def spend_nonce(nonce: str) -> None:
    """Use a message up; of several at the same moment one succeeds.

    Raises:
        InvalidMessage: somebody used it in the meantime, or it expired.
    """
    now = timezone.now()
    unused = SignInNonce.objects.filter(nonce=nonce, used_at__isnull=True, expires_at__gt=now)
    if not unused.update(used_at=now):
        raise InvalidMessage(_USED)
