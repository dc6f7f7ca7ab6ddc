"""The API of an author: what is known of them, the message to sign, and their prompt.

None of them returns a prompt. A token's provenance may (docs/adr/0023-prompts-are-private.md).
"""

from django.core.exceptions import ValidationError
from django.db import transaction
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_serializer,
)
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authors.models import PROMPT_MAX_LENGTH, Action, Author
from authors.onboarding import NewAuthor, onboard_author
from authors.signatures.messages import asking_site, offer_message
from authors.signed_requests import (
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
    require_wallet,
)
from glisk.api.exceptions import ErrorSerializer
from glisk.api.json import StrictCharField
from glisk.api.throttling import SignedRequestThrottle
from glisk.api.views import ConditionalView
from glisk.fields import parse_wallet

WALLET_PARAMETER = OpenApiParameter(
    "wallet",
    str,
    OpenApiParameter.PATH,
    description="The author's wallet, 0x and 40 hex digits in any letter case.",
    examples=[OpenApiExample("wallet", value="0x70997970C51812dc3A010C7d01b50e0d17dc79C8")],
)


_EXAMPLE = {"has_prompt": True, "twitter_handle": "glisk", "farcaster_handle": None}


@extend_schema_serializer(examples=[OpenApiExample("author", value=_EXAMPLE)])
class AuthorSerializer(serializers.Serializer):
    has_prompt = serializers.BooleanField(help_text="Whether the author has written a prompt.")
    twitter_handle = serializers.CharField(allow_null=True)
    farcaster_handle = serializers.CharField(allow_null=True)


class AuthorView(ConditionalView):
    @extend_schema(
        operation_id="author",
        tags=["authors"],
        summary="Get an author",
        description="A wallet that is unknown, or that is none, has no prompt and no handles.",
        parameters=[WALLET_PARAMETER],
        responses=AuthorSerializer,
    )
    def get(self, request: Request, wallet: str) -> Response:
        address = parse_wallet(wallet)
        author = Author.objects.by_wallet(address).first() if address else None
        # No cache may show an author the state from before their own change.
        return Response(AuthorSerializer(author or Author()).data)


class PromptSerializer(SignedSerializer):
    prompt_text = StrictCharField(
        max_length=PROMPT_MAX_LENGTH,
        trim_whitespace=False,
        help_text="What images are made of: text of several lines, no control characters.",
    )
    message = MessageField(Action.UPDATE_PROMPT)
    signature = SignatureField(
        help_text="The wallet's signature of the message, hex: EIP-191, ERC-1271 or ERC-6492."
    )


class PromptSavedSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    has_prompt = serializers.BooleanField()


class PromptView(SignedView):
    action = Action.UPDATE_PROMPT
    value_field = "prompt_text"
    failure_detail = "Failed to update author prompt. Please try again later."

    @extend_schema(
        operation_id="update_prompt",
        tags=["authors"],
        summary="Set the author's prompt",
        description="Mints from now on use it. Tokens that were minted before the author was "
        "known, and that are not yet being generated, use it too.",
        request=PromptSerializer,
        responses={200: PromptSavedSerializer, **REFUSALS},
    )
    def post(self, request: Request) -> Response:
        proof, asked = self.proven(request, PromptSerializer)
        with transaction.atomic():
            proof.spend()
            try:
                onboard_author(NewAuthor(proof.wallet, asked["prompt_text"]), actor="wallet")
            except ValidationError as error:
                raise exceptions.ValidationError(error.messages) from None
        return Response({"success": True, "has_prompt": True})


class NonceQuery(serializers.Serializer):
    action = serializers.ChoiceField(choices=Action.choices, help_text="What will be asked for.")
    value_hash = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        help_text="SHA-256, in hex, of the UTF-8 bytes of what will be set: the prompt as it "
        "will be sent, or the fid in decimal digits. None for link_x.",
    )

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        if (attrs["action"] == Action.LINK_X) == ("value_hash" in attrs):
            raise serializers.ValidationError({"value_hash": "Every action but link_x needs one."})
        return attrs


class NonceSerializer(serializers.Serializer):
    nonce = serializers.CharField()
    message = serializers.CharField(help_text="To be signed as it is (EIP-4361).")
    expires_at = serializers.DateTimeField()


class NonceView(APIView):
    throttle_classes = [SignedRequestThrottle]

    @extend_schema(
        operation_id="author_nonce",
        tags=["authors"],
        summary="Get a message for the wallet to sign",
        description="It allows one action with one value, on this chain and for this site, once, "
        "for some minutes.",
        parameters=[WALLET_PARAMETER, NonceQuery],
        responses={200: NonceSerializer, 400: ErrorSerializer, 429: ErrorSerializer},
    )
    def get(self, request: Request, wallet: str) -> Response:
        address = require_wallet(wallet)
        query = NonceQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        offered = offer_message(wallet=address, site=asking_site(request), **query.validated_data)
        return Response(NonceSerializer(offered).data, headers={"Cache-Control": "no-store"})
