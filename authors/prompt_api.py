"""POST /api/authors/prompt: an author writes the prompt, which no endpoint ever returns."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authors.models import PROMPT_MAX_LENGTH
from authors.onboarding import NewAuthor, onboard_author
from authors.prompt_text import check_prompt
from authors.signatures.actions import Action
from authors.signed_requests import (
    EXAMPLE_WALLET,
    REFUSALS,
    MessageField,
    SignatureField,
    SignedSerializer,
    SignedView,
)
from glisk.api.fields import StrictCharField


class PromptSerializer(SignedSerializer):
    prompt_text = StrictCharField(
        max_length=PROMPT_MAX_LENGTH,
        trim_whitespace=False,
        help_text="What images are made of: text of several lines, no control characters.",
    )
    message = MessageField(
        help_text="`Update GLISK prompt for wallet: <wallet>`, or the message of "
        "GET /api/authors/{wallet}/nonce?action=update_prompt."
    )
    signature = SignatureField(
        help_text="The wallet's signature of the message, hex: EIP-191, ERC-1271 or ERC-6492."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            check_prompt(attrs["prompt_text"])
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from None
        return attrs


class PromptSavedSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    has_prompt = serializers.BooleanField()


class PromptView(SignedView):
    failure_detail = "Failed to update author prompt. Please try again later."

    @extend_schema(
        operation_id="update_prompt",
        tags=["authors"],
        summary="Set the author's prompt",
        description="Mints from now on use it. Tokens that were minted before the author was "
        "known, and that are not yet being generated, use it too.",
        request=PromptSerializer,
        responses={200: PromptSavedSerializer, **REFUSALS},
        examples=[
            OpenApiExample(
                "prompt",
                value={
                    "wallet_address": EXAMPLE_WALLET,
                    "prompt_text": "Misty mountain ridges at sunrise",
                    "message": f"Update GLISK prompt for wallet: {EXAMPLE_WALLET}",
                    "signature": "0xe2a6c5fff38f37bcdec0c9588eef3b72d35477241805fbf5ba0250ec276f9f"
                    "4672782738636079be7f9c1aa28a1de4f176f48d9d50b1636c20690d4a4605bec81b",
                },
                request_only=True,
            ),
            OpenApiExample(
                "saved", value={"success": True, "has_prompt": True}, status_codes=["200"]
            ),
            OpenApiExample(
                "other wallet",
                value={
                    "detail": "Signature verification failed. Please ensure you're using the "
                    "correct wallet."
                },
                status_codes=["400"],
            ),
            OpenApiExample("failed", value={"detail": failure_detail}, status_codes=["500"]),
        ],
    )
    def post(self, request: Request) -> Response:
        wallet, asked = self.read(request, PromptSerializer)
        prompt = asked["prompt_text"]
        proof = self.prove(
            wallet=wallet,
            action=Action.UPDATE_PROMPT,
            value=prompt,
            message=asked["message"],
            signature=asked["signature"],
        )
        with transaction.atomic():
            proof.spend()
            try:
                onboard_author(NewAuthor(wallet, prompt), actor="wallet")
            except ValidationError as error:  # the zero address
                raise exceptions.ValidationError(error.messages) from None
        return Response({"success": True, "has_prompt": True})
