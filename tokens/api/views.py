"""The public read API of tokens."""

from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from authors.views import WALLET_PARAMETER
from glisk.api.exceptions import ErrorSerializer
from glisk.api.views import ConditionalView
from glisk.fields import is_hash, parse_wallet
from tokens.api.mints import mint_documents
from tokens.api.reads import LEADERBOARD_SECONDS, author_page, leaderboard
from tokens.api.serializers import (
    MAX_PAGE_SIZE,
    LeaderboardEntrySerializer,
    MintSerializer,
    PageQuery,
    TokenDetailSerializer,
    TokenListSerializer,
    TokenPageSerializer,
    TokenQuery,
)
from tokens.api.streams import CONTENT_TYPE, stream_mint
from tokens.models import Token
from tokens.models.token import TokenQuerySet

logger = structlog.get_logger(__name__)

_HASH_PARAMETER = OpenApiParameter(
    "tx_hash",
    {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
    OpenApiParameter.PATH,
    description="The mint's transaction.",
)


class InvalidQuery(exceptions.ValidationError):
    """A query string that makes no sense; the frontend expects 422 here."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY


def read_query(request: Request, kind: type[Serializer]) -> dict[str, Any]:
    """Return the checked query string; raise `InvalidQuery`."""
    # As a plain dict: a query string counts as a form, where an empty value is no value.
    query = kind(data=request.query_params.dict())
    if not query.is_valid():
        raise InvalidQuery(query.errors)
    checked: dict[str, Any] = query.validated_data
    return checked


def page_of(tokens: TokenQuerySet, limit: int, form: type[Serializer]) -> Response:
    """Return so many tokens in this form, and where the next page begins."""
    # One more than is shown tells whether there is a next page.
    found = list(tokens.without_texts()[: limit + 1])
    next_before = found[limit - 1].pk if len(found) > limit else None
    return Response({"tokens": form(found[:limit], many=True).data, "next_before": next_before})


class AuthorTokensView(ConditionalView):
    @extend_schema(
        operation_id="author_tokens",
        tags=["authors"],
        summary="List the tokens minted by way of an author, newest first",
        description=(
            "An unknown wallet has no tokens; neither has a text that is no wallet. The first "
            f"page of {MAX_PAGE_SIZE} is what a buyer's page polls after a mint: it also has the "
            "tokens that this wallet minted from other authors in the last 15 minutes, which "
            "`total` does not count."
        ),
        parameters=[WALLET_PARAMETER, PageQuery],
        responses={200: TokenPageSerializer, 422: ErrorSerializer},
    )
    def get(self, request: Request, wallet: str) -> HttpResponse:
        query = read_query(request, PageQuery)
        address = parse_wallet(wallet)
        tokens, total = author_page(address, **query) if address else ("[]", 0)
        place = '"total":{total},"offset":{offset},"limit":{limit}'.format(total=total, **query)
        text = f'{{"tokens":{tokens},{place}}}'
        return HttpResponse(text, content_type="application/json")


class LeaderboardView(ConditionalView):
    max_age = LEADERBOARD_SECONDS

    @extend_schema(
        operation_id="leaderboard",
        tags=["authors"],
        summary="List the fifty authors with most tokens",
        description="Most tokens first; equal numbers in the order of the addresses.",
        responses={
            200: LeaderboardEntrySerializer(many=True),
            503: OpenApiResponse(
                LeaderboardEntrySerializer(many=True),
                description="The database does not answer: an empty array.",
            ),
        },
    )
    def get(self, request: Request) -> Response:
        try:
            return Response(leaderboard())
        except (DatabaseError, InterfaceError) as error:
            # The frontend takes the body for an array without a look at the status.
            logger.warning("leaderboard_failed", error=type(error).__name__)
            return Response([], status=status.HTTP_503_SERVICE_UNAVAILABLE)


class TokenListView(ConditionalView):
    @extend_schema(
        operation_id="tokens",
        tags=["tokens"],
        summary="List tokens by minter, author and state, newest first",
        description=(
            "Pages follow by token id: pass `next_before` of one page as `before` of the next "
            "one. New mints do not shift them."
        ),
        parameters=[TokenQuery],
        responses={200: TokenListSerializer, 422: ErrorSerializer},
    )
    def get(self, request: Request) -> Response:
        query = read_query(request, TokenQuery)
        limit = query.pop("limit")
        return page_of(Token.objects.newest_first(**query), limit, TokenDetailSerializer)


class TokenView(ConditionalView):
    @extend_schema(
        operation_id="token",
        tags=["tokens"],
        summary="Get one token",
        parameters=[
            OpenApiParameter("token_id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)
        ],
        responses={200: TokenDetailSerializer, 404: ErrorSerializer},
    )
    def get(self, request: Request, token_id: int) -> Response:
        token = get_object_or_404(Token.objects.without_texts(), pk=token_id)
        return Response(TokenDetailSerializer(token).data)


def read_hash(text: str) -> str:
    """Return a transaction hash in lower case; raise `NotFound` for any other text."""
    if not is_hash(text):
        raise exceptions.NotFound("That is no transaction hash: 0x and 64 hex digits.")
    return text.lower()


class MintView(ConditionalView):
    @extend_schema(
        operation_id="mint",
        tags=["mints"],
        summary="List the tokens of a mint transaction, with their places in line",
        description=(
            "`position` 1 is the oldest token that is not revealed yet. `estimated_seconds` is "
            "null where nothing can be said. 404 until the mint has been detected, which takes "
            "some seconds."
        ),
        parameters=[_HASH_PARAMETER],
        responses={200: MintSerializer, 404: ErrorSerializer},
    )
    def get(self, request: Request, tx_hash: str) -> Response:
        wanted = read_hash(tx_hash)
        document = mint_documents([wanted]).get(wanted)
        if document is None:
            raise exceptions.NotFound("No mint of that transaction has been detected yet.")
        return Response(document)


class MintEventsView(APIView):
    @extend_schema(
        operation_id="mint_events",
        tags=["mints"],
        summary="Follow a mint live: server-sent events until all its tokens are revealed",
        description=(
            "`mint` events carry what `/api/mints/{tx_hash}` answers, at once and whenever a "
            "token moves; a mint that has not been detected yet begins as soon as it is. `done` "
            "is the last event: close the stream then. 204 if all tokens were revealed before."
        ),
        parameters=[_HASH_PARAMETER],
        responses={
            (200, CONTENT_TYPE): OpenApiTypes.STR,
            204: OpenApiResponse(description="All its tokens are revealed."),
            404: ErrorSerializer,
            503: ErrorSerializer,
        },
    )
    def get(self, request: Request, tx_hash: str) -> HttpResponseBase:
        wanted = read_hash(tx_hash)
        document = mint_documents([wanted]).get(wanted)
        connection.close()  # back to the pool: the stream must not keep it
        if document and document["done"] and request.headers.get("Last-Event-ID"):
            return HttpResponse(status=204)  # which ends an EventSource for good
        return stream_mint(wanted)

    def head(self, request: Request, tx_hash: str) -> HttpResponse:
        """Answer without a stream, which nobody would read: it would hold a place to its end."""
        read_hash(tx_hash)
        return HttpResponse(content_type=CONTENT_TYPE)
