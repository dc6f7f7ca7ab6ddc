"""The public read API of tokens."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from authors.views import WALLET_PARAMETER
from glisk.api.conditional import conditional_json, conditional_text
from glisk.api.exceptions import ErrorSerializer
from glisk.fields import parse_wallet
from tokens.api import examples
from tokens.api.reads import (
    LEADERBOARD_SECONDS,
    AuthorPage,
    author_page,
    leaderboard,
    progress_page,
)
from tokens.api.serializers import (
    MAX_PAGE_SIZE,
    LeaderboardEntrySerializer,
    PageQuery,
    TokenDetailSerializer,
    TokenListSerializer,
    TokenPageSerializer,
    TokenQuery,
)
from tokens.api.wire import detailed_tokens
from tokens.models import Token

logger = structlog.get_logger(__name__)


class InvalidQuery(exceptions.ValidationError):
    """A query string that makes no sense; the frontend expects 422 here."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY


def read_query(request: Request, kind: type[Serializer]) -> Mapping[str, Any]:
    """Return the checked query string; raise `InvalidQuery`."""
    # As a plain dict: a query string counts as a form, where an empty value is no value.
    return _checked(kind, tuple(request.query_params.dict().items()))


@lru_cache(maxsize=256)
def _checked(kind: type[Serializer], given: tuple[tuple[str, str], ...]) -> Mapping[str, Any]:
    """Check a query string, the same ones of all who poll once: fields of the framework are slow.

    Nothing is remembered of what is refused.
    """
    query = kind(data=dict(given))
    if not query.is_valid():
        raise InvalidQuery(query.errors)
    return MappingProxyType(query.validated_data)


class AuthorTokensView(APIView):
    @extend_schema(
        operation_id="author_tokens",
        tags=["authors"],
        summary="The tokens minted by way of an author, newest first",
        description=(
            "An unknown wallet has no tokens; neither has a text that is no wallet. The first "
            f"page of {MAX_PAGE_SIZE} is what a buyer's page polls after a mint: it also has the "
            "tokens that this wallet minted from other authors in the last 15 minutes, which "
            "`total` does not count."
        ),
        parameters=[WALLET_PARAMETER, PageQuery],
        responses={200: TokenPageSerializer, 422: ErrorSerializer},
        examples=[examples.PAGE, examples.BAD_LIMIT],
    )
    def get(self, request: Request, wallet: str) -> HttpResponse:
        query = read_query(request, PageQuery)
        offset, limit = query["offset"], query["limit"]
        address = parse_wallet(wallet)
        if address is None:
            page = AuthorPage("[]", 0)
        elif offset == 0 and limit == MAX_PAGE_SIZE:
            page = progress_page(address, limit=limit)
        else:
            page = author_page(address, offset=offset, limit=limit)
        place = f'"total":{page.total},"offset":{offset},"limit":{limit}'
        return conditional_text(request, f'{{"tokens":{page.tokens},{place}}}')


class LeaderboardView(APIView):
    @extend_schema(
        operation_id="leaderboard",
        tags=["authors"],
        summary="The fifty authors with most tokens",
        description="Most tokens first; equal numbers in the order of the addresses.",
        responses={
            200: LeaderboardEntrySerializer(many=True),
            503: OpenApiResponse(
                LeaderboardEntrySerializer(many=True),
                description="The database does not answer: an empty array.",
            ),
        },
        examples=[examples.LEADERBOARD, examples.NO_LEADERBOARD],
    )
    def get(self, request: Request) -> HttpResponse:
        try:
            return conditional_json(request, leaderboard(), max_age=LEADERBOARD_SECONDS)
        except (DatabaseError, InterfaceError) as error:
            # The frontend takes the body for an array without a look at the status.
            is_away = isinstance(error, OperationalError | InterfaceError)
            log = logger.error if is_away else logger.exception  # as glisk/api/exceptions.py does
            log("leaderboard_failed", error=type(error).__name__)
            return HttpResponse(
                "[]", content_type="application/json", status=status.HTTP_503_SERVICE_UNAVAILABLE
            )


class TokenListView(APIView):
    @extend_schema(
        operation_id="tokens",
        tags=["tokens"],
        summary="Tokens by minter, author and state, newest first",
        description=(
            "Pages follow by token id: pass `next_before` of one page as `before` of the next "
            "one. New mints do not shift them."
        ),
        parameters=[TokenQuery],
        responses={200: TokenListSerializer, 422: ErrorSerializer},
        examples=[examples.TOKENS, examples.BAD_WALLET],
    )
    def get(self, request: Request) -> HttpResponse:
        query = read_query(request, TokenQuery)
        limit = query["limit"]
        found = Token.objects.newest_first(
            minter=query.get("minter"),
            author=query.get("author"),
            status=query.get("status"),
            before=query.get("before"),
        )
        # One more than is shown tells whether there is a next page.
        tokens = detailed_tokens(found[: limit + 1])
        more = len(tokens) > limit
        tokens = tokens[:limit]
        answer = {"tokens": tokens, "next_before": tokens[-1]["token_id"] if more else None}
        return conditional_json(request, answer)


class TokenView(APIView):
    @extend_schema(
        operation_id="token",
        tags=["tokens"],
        summary="One token",
        parameters=[
            OpenApiParameter("token_id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)
        ],
        responses={200: TokenDetailSerializer, 404: ErrorSerializer},
        examples=[examples.TOKEN, examples.UNKNOWN_TOKEN],
    )
    def get(self, request: Request, token_id: int) -> HttpResponse:
        tokens = detailed_tokens(Token.objects.filter(pk=token_id))
        if not tokens:
            raise exceptions.NotFound(f"There is no token {token_id}.")
        return conditional_json(request, tokens[0])
