"""The public read API of tokens."""

from typing import Any

import structlog
from django.db import DatabaseError
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from authors.views import WALLET_PARAMETER
from glisk.api import ErrorSerializer
from glisk.wallets import parse_wallet
from tokens.models import Token
from tokens.reads import author_tokens, leaderboard
from tokens.serializers import (
    LeaderboardEntrySerializer,
    PageQuery,
    TokenDetailSerializer,
    TokenPageSerializer,
    TokenSerializer,
)

logger = structlog.get_logger(__name__)

_TOKEN_EXAMPLE: dict[str, Any] = {
    "token_id": 42,
    "status": "revealed",
    "image_cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    "metadata_cid": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
    "image_url": "https://replicate.delivery/xezq/out-0.webp",
    "generation_attempts": 1,
    "generation_error": None,
    "reveal_tx_hash": "0x" + "5c" * 32,
    "created_at": "2025-10-05T14:23:07.123456Z",
}
_WALLET = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class InvalidQuery(exceptions.ValidationError):
    """A query string that makes no sense; the frontend expects 422 here."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY


class AuthorTokensView(APIView):
    @extend_schema(
        operation_id="author_tokens",
        tags=["authors"],
        summary="The tokens minted by way of an author, newest first",
        description="An unknown wallet has no tokens; neither has a text that is no wallet.",
        parameters=[WALLET_PARAMETER, PageQuery],
        responses={200: TokenPageSerializer, 422: ErrorSerializer},
        examples=[
            OpenApiExample(
                "page",
                value={"tokens": [_TOKEN_EXAMPLE], "total": 1, "offset": 0, "limit": 20},
                status_codes=["200"],
            ),
            OpenApiExample(
                "bad query",
                value={"detail": "limit: Ensure this value is less than or equal to 100."},
                status_codes=["422"],
            ),
        ],
    )
    def get(self, request: Request, wallet: str) -> Response:
        # As a plain dict: a query string counts as a form, where an empty value is no value.
        query = PageQuery(data=request.query_params.dict())
        if not query.is_valid():
            raise InvalidQuery(query.errors)
        offset, limit = query.validated_data["offset"], query.validated_data["limit"]
        address = parse_wallet(wallet)
        found = author_tokens(address) if address else Token.objects.none()
        page = TokenSerializer(found[offset : offset + limit], many=True)
        return Response(
            {"tokens": page.data, "total": found.count(), "offset": offset, "limit": limit}
        )


class LeaderboardView(APIView):
    @extend_schema(
        operation_id="leaderboard",
        tags=["authors"],
        summary="The fifty authors with most tokens",
        description="Most tokens first; equal numbers in the order of the addresses.",
        responses=LeaderboardEntrySerializer(many=True),
        examples=[
            OpenApiExample("leaderboard", value=[{"author_address": _WALLET, "total_tokens": 7}])
        ],
    )
    def get(self, request: Request) -> Response:
        try:
            return Response(LeaderboardEntrySerializer(leaderboard(), many=True).data)
        except DatabaseError as error:
            # The frontend takes the body for an array without a look at the status.
            logger.exception("leaderboard_failed", error=type(error).__name__)
            return Response([], status=status.HTTP_503_SERVICE_UNAVAILABLE)


class TokenView(APIView):
    @extend_schema(
        operation_id="token",
        tags=["tokens"],
        summary="One token",
        responses={200: TokenDetailSerializer, 404: ErrorSerializer},
        examples=[
            OpenApiExample(
                "token",
                value={
                    **_TOKEN_EXAMPLE,
                    "name": "GLISK S0 #42",
                    "author_address": _WALLET,
                    "minter_address": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
                    "mint_timestamp": "2025-10-05T14:23:05Z",
                    "revealed_at": "2025-10-05T14:23:31.654321Z",
                    "token_uri": "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
                },
                status_codes=["200"],
            ),
            OpenApiExample(
                "unknown", value={"detail": "There is no token 43."}, status_codes=["404"]
            ),
        ],
    )
    def get(self, request: Request, token_id: int) -> Response:
        token = Token.objects.filter(pk=token_id).first()
        if token is None:
            raise exceptions.NotFound(f"There is no token {token_id}.")
        return Response(TokenDetailSerializer(token).data)
