"""POST /api/authors/farcaster/link: two signatures, the wallet's and the account owner's."""

from __future__ import annotations

import structlog
from django.conf import settings
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authors.farcaster_linking import InvalidSignIn, NotTheirAccount, link_farcaster
from authors.signatures.actions import Action
from authors.signed_requests import (
    EXAMPLE_WALLET,
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
    seconds_until_retry,
)
from glisk.api.exceptions import TryLater
from glisk.api.fields import StrictCharField
from glisk.errors import ProviderError

logger = structlog.get_logger(__name__)

_REFUSED = (
    "Farcaster signature verification failed. Please try linking your Farcaster account again."
)
_SIGN_IN = f"""\
glisk.example wants you to sign in with your Ethereum account:
{EXAMPLE_WALLET}

Farcaster Auth

URI: https://glisk.example/profile
Version: 1
Chain ID: 10
Nonce: k3Jd0aQv5Tz8
Issued At: 2026-02-01T10:00:00Z
Resources:
- farcaster://fid/7"""


class FarcasterLinkSerializer(SignedSerializer):
    wallet_message = MessageField(
        help_text="`Link Farcaster account for wallet: <wallet>`, or the message of "
        "GET /api/authors/{wallet}/nonce?action=link_farcaster."
    )
    wallet_signature = SignatureField(help_text="The wallet's signature of it, hex.")
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
        examples=[
            OpenApiExample(
                "link",
                value={
                    "wallet_address": EXAMPLE_WALLET,
                    "wallet_message": f"Link Farcaster account for wallet: {EXAMPLE_WALLET}",
                    "wallet_signature": "0x" + "5c" * 64 + "1b",
                    "farcaster_message": _SIGN_IN,
                    "farcaster_signature": "0x" + "5d" * 64 + "1c",
                    "fid": 7,
                    "username": "glisk",
                },
                request_only=True,
            ),
            OpenApiExample(
                "linked",
                value={"success": True, "username": "glisk", "fid": 7},
                status_codes=["200"],
            ),
            OpenApiExample("refused", value={"detail": _REFUSED}, status_codes=["400"]),
        ],
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
