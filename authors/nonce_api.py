"""GET /api/authors/{wallet}/nonce: the message that a wallet signs for one action, once."""

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from authors.signatures.actions import Action
from authors.signatures.offers import offer_message
from authors.signatures.sites import asking_site
from authors.signed_requests import SignedView, require_wallet
from authors.views import WALLET_PARAMETER
from glisk.api.exceptions import ErrorSerializer

_MESSAGE = """\
glisk.example wants you to sign in with your Ethereum account:
0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A

Update my GLISK prompt.

URI: https://glisk.example
Version: 1
Chain ID: 8453
Nonce: k3Jd0aQv5Tz8WmXc2RfYp7Lh
Issued At: 2026-02-01T10:00:00Z
Expiration Time: 2026-02-01T10:10:00Z
Resources:
- urn:glisk:update_prompt:sha256:ac68be7fc9e92d70c96e1d3a1ba9b1e2ecd0d02a2ae0d4b6de0fc2c31ce0e3a7"""


class NonceQuery(serializers.Serializer):
    action = serializers.ChoiceField(choices=Action.choices, help_text="What will be asked for.")
    value_hash = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        help_text="SHA-256, in hex, of the UTF-8 bytes of what will be set: the prompt as it "
        "will be sent, or the fid in decimal digits. None for link_x.",
    )

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        has_value = attrs["action"] != Action.LINK_X
        if has_value and "value_hash" not in attrs:
            raise serializers.ValidationError({"value_hash": "This action needs one."})
        if not has_value and "value_hash" in attrs:
            raise serializers.ValidationError({"value_hash": "This action has no value."})
        return attrs


class NonceSerializer(serializers.Serializer):
    nonce = serializers.CharField()
    message = serializers.CharField(help_text="To be signed as it is (EIP-4361).")
    expires_at = serializers.DateTimeField()


class NonceView(SignedView):
    @extend_schema(
        operation_id="author_nonce",
        tags=["authors"],
        summary="A message for the wallet to sign",
        description="It allows one action with one value, on this chain and for this site, once, "
        "for some minutes.",
        parameters=[WALLET_PARAMETER, NonceQuery],
        responses={200: NonceSerializer, 400: ErrorSerializer, 429: ErrorSerializer},
        examples=[
            OpenApiExample(
                "message",
                value={
                    "nonce": "k3Jd0aQv5Tz8WmXc2RfYp7Lh",
                    "message": _MESSAGE,
                    "expires_at": "2026-02-01T10:10:00Z",
                },
                status_codes=["200"],
            ),
            OpenApiExample(
                "no wallet",
                value={"detail": "Invalid Ethereum address: 0x12"},
                status_codes=["400"],
            ),
        ],
    )
    def get(self, request: Request, wallet: str) -> Response:
        address = require_wallet(wallet)
        query = NonceQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        offered = offer_message(
            wallet=address,
            action=Action(query.validated_data["action"]),
            value_hash=query.validated_data.get("value_hash", ""),
            site=asking_site(request),
        )
        answer = Response(NonceSerializer(offered).data)
        answer["Cache-Control"] = "no-store"
        return answer
