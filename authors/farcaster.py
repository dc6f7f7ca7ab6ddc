"""Linking a Farcaster account to a wallet: the wallet asks, the account's owner signed in here.

Sign In With Farcaster is a message of EIP-4361 that the account's custody or auth address signs
(https://docs.farcaster.xyz/developers/siwf). That somebody signed it proves nothing about the
account it names: who owns that is asked of the registries, and its name of the name server.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authors.models import Action, SpentMessage
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.eip4361 import SignInMessage, read_sign_in_message
from authors.signatures.messages import Proof, hash_of, is_allowed_site
from authors.signatures.wallet_signature import InvalidSignature, verify_signature
from authors.signed_requests import (
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
    try_later,
)
from glisk.api.exceptions import TryLater
from glisk.api.json import StrictCharField
from glisk.clients.farcaster import OPTIMISM_CHAIN_ID, name_of_account, owns_account
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
_FAILED = "Validation failed:"
_NO_SIGN_IN = "The message is not one of Sign In With Farcaster."


class LinkRefused(GliskError):
    """The account was not linked; the text says why, for people."""

    error_class = "farcaster_link"

    def __init__(self, why: str, *, said: str = _REFUSED) -> None:
        super().__init__(f"{said} {why}".rstrip())


def link_farcaster(*, proof: Proof, message: str, signature: str, fid: int) -> str:
    """Check the sign-in, link the account to the wallet, and return the account's name.

    No transaction may be open: Optimism and the name server are asked.

    Raises:
        LinkRefused: message or signature is not right, the signer does not own the fid, or it has
            no name.
        InvalidMessage: the wallet's message was used in the meantime.
        ProviderError: Optimism or the name server does not answer.
    """
    sign_in = check_message(message, fid=fid, nonce=proof.nonce)
    address = normalise_address(sign_in.address)
    chain = client_at(settings.OPTIMISM_RPC_URL)
    try:
        verify_signature(wallet=address, message=message, signature=signature, chain=chain)
    except InvalidSignature as error:
        raise LinkRefused(error.explanation) from None
    if not owns_account(address=address, fid=fid):
        raise LinkRefused(f"{address} does not own the Farcaster account {fid}.", said=_FAILED)
    name = name_of_account(fid)
    if name is None:
        raise LinkRefused(f"the Farcaster account {fid} has no name.", said=_FAILED)
    lifetime = timedelta(seconds=settings.SIGN_IN_SECONDS) + 2 * _CLOCK_SKEW
    with transaction.atomic():
        proof.spend()
        _, is_new = SpentMessage.objects.get_or_create(
            digest=hash_of(message), defaults={"expires_at": sign_in.issued_at + lifetime}
        )
        if not is_new:
            raise LinkRefused("The message was used already.")
        new = NewAuthor(proof.wallet, farcaster_handle=name)
        try:
            onboard_author(new, actor="wallet", needs_prompt=False)
        except ValidationError as error:
            raise LinkRefused(" ".join(error.messages), said=_FAILED) from None
    logger.info("farcaster_account_linked", wallet=proof.wallet, fid=fid, username=name)
    return name


def check_message(message: str, *, fid: int, nonce: str | None) -> SignInMessage:
    """Return the sign-in message if it is one for us, for this account, and of now.

    `nonce` is the wallet's, if its message has one: then both must be the same, which ties the
    sign-in to the wallet. Raises `LinkRefused`.
    """
    try:
        sign_in = read_sign_in_message(message)
    except ValueError:
        raise LinkRefused(_NO_SIGN_IN) from None
    now = timezone.now()
    oldest, latest = now - timedelta(seconds=settings.SIGN_IN_SECONDS), now + _CLOCK_SKEW
    fids = [found[1] for entry in sign_in.resources if (found := _FID.fullmatch(entry))]
    is_sign_in = sign_in.chain_id == OPTIMISM_CHAIN_ID and sign_in.statement in _STATEMENTS
    allowed = ", ".join(settings.SIGN_IN_DOMAIN)
    for holds, hint in (
        (
            is_allowed_site(sign_in.domain),
            f"The message is for another site. These are allowed: {allowed}.",
        ),
        (is_sign_in, _NO_SIGN_IN),
        (fids == [str(fid)], "The message is for another account."),
        (nonce in (None, sign_in.nonce), "The message has another nonce than the wallet's."),
        (oldest <= sign_in.issued_at <= latest, "The message is not of now."),
        (sign_in.expires_at is None or now < sign_in.expires_at, "The message has expired."),
        (
            sign_in.not_before is None or sign_in.not_before <= latest,
            "The message is not valid yet.",
        ),
    ):
        if not holds:
            raise LinkRefused(hint)
    return sign_in


class FarcasterLinkSerializer(SignedSerializer):
    wallet_message = MessageField(Action.LINK_FARCASTER, source="message")
    wallet_signature = SignatureField(source="signature")
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
    action = Action.LINK_FARCASTER
    value_field = "fid"
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
        if not settings.OPTIMISM_RPC_URL:
            raise TryLater("Linking Farcaster accounts is not set up on this server.")
        proof, asked = self.proven(request, FarcasterLinkSerializer)
        fid: int = asked["fid"]
        message, signature = asked["farcaster_message"], asked["farcaster_signature"]
        try:
            name = link_farcaster(proof=proof, message=message, signature=signature, fid=fid)
        except LinkRefused as error:
            logger.info("farcaster_refused", wallet=proof.wallet, fid=fid, reason=str(error))
            raise exceptions.ValidationError(str(error)) from None
        except ProviderError as error:
            logger.warning("farcaster_not_asked", wallet=proof.wallet, fid=fid, error=str(error))
            raise try_later(
                "Farcaster cannot be asked at the moment. Please try again later.", error
            ) from None
        return Response({"success": True, "username": name, "fid": fid})
