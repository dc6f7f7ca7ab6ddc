"""Linking a Farcaster account to a wallet: the wallet asks, the account's owner signed in here.

Sign In With Farcaster is a message of EIP-4361 that the account's custody or auth address signs
(https://docs.farcaster.xyz/developers/siwf). That somebody signed it proves nothing about the
account it names: who owns that is asked of the registries, and its name of the name server.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from authors.models import SpentMessage
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.eip4361 import SignInMessage, read_sign_in_message
from authors.signatures.proof import Proof
from authors.signatures.sites import is_allowed_site
from authors.signatures.wallet_signature import InvalidSignature, verify_signature
from glisk.clients.farcaster import OPTIMISM_CHAIN_ID, FarcasterNames, registries_at
from glisk.clients.smart_wallets import client_at
from glisk.engine.purging import delete_in_portions
from glisk.errors import GliskError
from glisk.fields import normalise_address

logger = structlog.get_logger(__name__)

_STATEMENTS: Final = frozenset({"Farcaster Auth", "Farcaster Connect"})
_FID: Final = re.compile(r"farcaster://fid/([1-9][0-9]*)/?", re.ASCII)
# Clocks differ; a message from further ahead would outlive its time.
_CLOCK_SKEW: Final = timedelta(minutes=1)


class InvalidSignIn(GliskError):
    """The Farcaster message or its signature does not hold; `hint` may say why."""

    error_class = "invalid_sign_in"

    def __init__(self, hint: str = "") -> None:
        self.hint = hint
        super().__init__(hint or "the signature is not that of the message's address")


class NotTheirAccount(GliskError):
    """The signer does not own the account, or it has no name; the text says which."""

    error_class = "not_their_account"


def link_farcaster(*, proof: Proof, message: str, signature: str, fid: int) -> str:
    """Check the sign-in, link the account to the wallet, and return the account's name.

    No transaction may be open: Optimism and the name server are asked.

    Raises:
        InvalidSignIn: message or signature is not right.
        NotTheirAccount: the signer does not own the fid, or it has no name.
        InvalidMessage: the wallet's message was used in the meantime.
        ProviderError: Optimism or the name server does not answer.
    """
    sign_in = check_message(message, fid=fid, nonce=proof.nonce)
    address = normalise_address(sign_in.address)
    try:
        verify_signature(
            wallet=address,
            message=message,
            signature=signature,
            chain=client_at(settings.OPTIMISM_RPC_URL),
        )
    except InvalidSignature as error:
        raise InvalidSignIn(error.explanation) from None
    if not registries_at(settings.OPTIMISM_RPC_URL).owns(address=address, fid=fid):
        raise NotTheirAccount(f"{address} does not own the Farcaster account {fid}.")
    name = _name_of(fid)
    with transaction.atomic():
        proof.spend()
        _spend(message, sign_in)
        try:
            onboard_author(
                NewAuthor(proof.wallet, farcaster_handle=name), actor="wallet", needs_prompt=False
            )
        except ValidationError as error:
            raise NotTheirAccount(" ".join(error.messages)) from None
    logger.info("farcaster_account_linked", wallet=proof.wallet, fid=fid, username=name)
    return name


def check_message(message: str, *, fid: int, nonce: str | None) -> SignInMessage:
    """Return the sign-in message if it is one for us, for this account, and of now.

    `nonce` is the wallet's, if its message has one: then both must be the same, which ties the
    sign-in to the wallet.

    Raises:
        InvalidSignIn: it is not.
    """
    try:
        sign_in = read_sign_in_message(message)
    except ValueError:
        raise InvalidSignIn("The message is not one of Sign In With Farcaster.") from None
    now = timezone.now()
    oldest = now - timedelta(seconds=settings.SIGN_IN_SECONDS)
    fids = [found[1] for entry in sign_in.resources if (found := _FID.fullmatch(entry))]
    if not is_allowed_site(sign_in.domain):
        allowed = ", ".join(settings.SIGN_IN_DOMAIN)
        raise InvalidSignIn(f"The message is for another site. These are allowed: {allowed}.")
    if sign_in.chain_id != OPTIMISM_CHAIN_ID or sign_in.statement not in _STATEMENTS:
        raise InvalidSignIn("The message is not one of Sign In With Farcaster.")
    if fids != [str(fid)]:
        raise InvalidSignIn("The message is for another account.")
    if nonce is not None and sign_in.nonce != nonce:
        raise InvalidSignIn("The message has another nonce than the wallet's.")
    if not oldest <= sign_in.issued_at <= now + _CLOCK_SKEW:
        raise InvalidSignIn("The message is not of now.")
    if sign_in.expires_at is not None and sign_in.expires_at <= now:
        raise InvalidSignIn("The message has expired.")
    if sign_in.not_before is not None and sign_in.not_before > now + _CLOCK_SKEW:
        raise InvalidSignIn("The message is not valid yet.")
    return sign_in


def purge_spent_messages() -> int:
    """Delete the sign-ins that are too old to be used again; return how many."""
    old = SpentMessage.objects.filter(expires_at__lte=timezone.now())
    return delete_in_portions(old.order_by("expires_at"))


def _name_of(fid: int) -> str:
    names = FarcasterNames.from_settings()
    try:
        name = names.name_of(fid)
    finally:
        names.close()
    if name is None:
        raise NotTheirAccount(f"the Farcaster account {fid} has no name.")
    return name


def _spend(message: str, sign_in: SignInMessage) -> None:
    """Remember the message until it is too old; raise `InvalidSignIn` if it was used."""
    lifetime = timedelta(seconds=settings.SIGN_IN_SECONDS) + 2 * _CLOCK_SKEW
    try:
        with transaction.atomic():
            SpentMessage.objects.create(
                digest=hashlib.sha256(message.encode("utf-8")).hexdigest(),
                expires_at=sign_in.issued_at + lifetime,
            )
    except IntegrityError:
        raise InvalidSignIn("The message was used already.") from None
