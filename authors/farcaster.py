"""Linking a Farcaster account to a wallet: the wallet asks, the account's owner signed in here.

Sign In With Farcaster is a message of EIP-4361 that the account's custody or auth address signs
(https://docs.farcaster.xyz/developers/siwf). That somebody signed it proves nothing about the
account it names: who owns that is asked of the registries, and its name of the name server.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import closing
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authors.models import Action, SpentMessage
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.eip4361 import SignInMessage, read_sign_in_message
from authors.signatures.messages import Proof, is_allowed_site
from authors.signatures.wallet_signature import InvalidSignature, verify_signature
from authors.signed_requests import (
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
    seconds_until_retry,
)
from glisk.api.exceptions import TryLater
from glisk.api.json import StrictCharField
from glisk.clients.farcaster import OPTIMISM_CHAIN_ID, FarcasterNames, registries_at
from glisk.clients.smart_wallets import client_at
from glisk.errors import GliskError, ProviderError
from glisk.fields import normalise_address

logger = structlog.get_logger(__name__)

_STATEMENTS: Final = frozenset({"Farcaster Auth", "Farcaster Connect"})
_FID: Final = re.compile(r"farcaster://fid/([1-9][0-9]*)/?", re.ASCII)
# Clocks differ; a message from further ahead would outlive its time.
_CLOCK_SKEW: Final = timedelta(minutes=1)
_REFUSED = (
    "Farcaster signature verification failed. Please try linking your Farcaster account again."
)


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


def _name_of(fid: int) -> str:
    with closing(FarcasterNames.from_settings()) as names:
        name = names.name_of(fid)
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


class FarcasterLinkSerializer(SignedSerializer):
    wallet_message = MessageField(Action.LINK_FARCASTER)
    wallet_signature = SignatureField()
    farcaster_message = MessageField(
        help_text="The message of Sign In With Farcaster, for this site, of the last minutes. "
        "With a nonce of ours in the wallet's message, it has the same."
    )
    farcaster_signature = SignatureField(
        help_text="Its signature by the account's custody or auth address, hex."
    )
    fid = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    username = StrictCharField(
        max_length=200,
        allow_blank=True,
        help_text="Not believed: the name is looked up.",
    )


class FarcasterLinkedSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    username = StrictCharField(help_text="The account's name, as Farcaster has it.")
    fid = serializers.IntegerField()


class FarcasterLinkView(SignedView):
    refusal = "Wallet signature verification failed."
    failure_detail = "Failed to link Farcaster account. Please try again later."

    @extend_schema(
        operation_id="link_farcaster",
        tags=["authors"],
        summary="Link a Farcaster account",
        request=FarcasterLinkSerializer,
        responses={200: FarcasterLinkedSerializer, **REFUSALS},
    )
    def post(self, request: Request) -> Response:
        wallet, asked = self.read(request, FarcasterLinkSerializer)
        fid: int = asked["fid"]
        if not settings.OPTIMISM_RPC_URL:
            raise TryLater("Linking Farcaster accounts is not set up on this server.")
        proof = self.prove(
            wallet=wallet,
            action=Action.LINK_FARCASTER,
            value=str(fid),
            message=asked["wallet_message"],
            signature=asked["wallet_signature"],
        )
        try:
            name = link_farcaster(
                proof=proof,
                message=asked["farcaster_message"],
                signature=asked["farcaster_signature"],
                fid=fid,
            )
        except InvalidSignIn as error:
            logger.info("farcaster_sign_in_refused", wallet=wallet, fid=fid, reason=str(error))
            raise exceptions.ValidationError(f"{_REFUSED} {error.hint}".rstrip()) from None
        except NotTheirAccount as error:
            logger.info("farcaster_account_refused", wallet=wallet, fid=fid, reason=str(error))
            raise exceptions.ValidationError(f"Validation failed: {error}") from None
        except ProviderError as error:
            logger.warning("farcaster_not_asked", wallet=wallet, fid=fid, error=str(error))
            raise TryLater(
                "Farcaster cannot be asked at the moment. Please try again later.",
                wait=seconds_until_retry(error),
            ) from None
        return Response({"success": True, "username": name, "fid": fid})
