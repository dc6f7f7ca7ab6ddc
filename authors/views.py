"""The public side of an author."""

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from authors.models import Author
from authors.serializers import AuthorSerializer
from glisk.api.conditional import ConditionalView
from glisk.fields import parse_wallet

WALLET_PARAMETER = OpenApiParameter(
    "wallet",
    str,
    OpenApiParameter.PATH,
    description="The author's wallet, 0x and 40 hex digits in any letter case.",
    examples=[OpenApiExample("wallet", value="0x70997970C51812dc3A010C7d01b50e0d17dc79C8")],
)


class AuthorView(ConditionalView):
    @extend_schema(
        operation_id="author",
        tags=["authors"],
        summary="What is known of an author",
        description="A wallet that is unknown, or that is none, has no prompt and no handles.",
        parameters=[WALLET_PARAMETER],
        responses=AuthorSerializer,
        examples=[
            OpenApiExample(
                "author",
                value={"has_prompt": True, "twitter_handle": "glisk", "farcaster_handle": None},
                response_only=True,
            )
        ],
    )
    def get(self, request: Request, wallet: str) -> Response:
        address = parse_wallet(wallet)
        author = Author.objects.by_wallet(address).first() if address else None
        # No cache may show an author the state from before their own change.
        return Response(AuthorSerializer(author or Author()).data)
