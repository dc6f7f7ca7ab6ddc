"""The operations API of tokens, for scripts of the staff."""

from collections.abc import Mapping
from dataclasses import asdict

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import exceptions, status
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.exceptions import ErrorSerializer
from glisk.api.operations import OperationsView
from glisk.permissions import RETRY_TOKEN
from tokens.api.operations_wire import (
    OperatorTokenDetailSerializer,
    OperatorTokenPageSerializer,
    OperatorTokenQuery,
    OperatorTokenSerializer,
    ReasonSerializer,
    RepairSerializer,
)
from tokens.api.views import read_query
from tokens.models import Token
from tokens.querysets import TokenQuerySet
from tokens.repairs import retry_tokens
from tokens.states import TokenStatus

_HEAVY = ("prompt", "metadata_text", "error_log", "image_url", "adopted_uri")
_REFUSALS = {401: ErrorSerializer, 403: ErrorSerializer, 429: ErrorSerializer}
_UNREVEALED = [status for status in TokenStatus if status != TokenStatus.REVEALED]


class Conflict(exceptions.APIException):
    """The token's state does not allow it; the detail says why."""

    status_code = status.HTTP_409_CONFLICT


class OperatorTokenListView(OperationsView):
    permission = "tokens.view_token"

    @extend_schema(
        operation_id="operator_tokens",
        tags=["operations"],
        summary="Tokens with their state of work, newest first",
        description="Pages follow by token id: pass `next_before` as `before`.",
        parameters=[OperatorTokenQuery],
        responses={200: OperatorTokenPageSerializer, 422: ErrorSerializer, **_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        query = read_query(request, OperatorTokenQuery)
        found = Token.objects.newest_first(
            **{name: query.get(name) for name in ("minter", "author", "status", "before")}
        )
        limit = query["limit"]
        tokens = list(_narrowed(found, query).defer(*_HEAVY)[: limit + 1])
        more = len(tokens) > limit
        tokens = tokens[:limit]
        return Response(
            {
                "tokens": OperatorTokenSerializer(tokens, many=True).data,
                "next_before": tokens[-1].pk if more else None,
            }
        )


class OperatorTokenView(OperationsView):
    permission = "tokens.view_token"

    @extend_schema(
        operation_id="operator_token",
        tags=["operations"],
        summary="One token with its whole history",
        responses={200: OperatorTokenDetailSerializer, 404: ErrorSerializer, **_REFUSALS},
    )
    def get(self, request: Request, token_id: int) -> Response:
        found = Token.objects.select_related("mint_event").prefetch_related("transitions")
        token = found.filter(pk=token_id).first()
        if token is None:
            raise exceptions.NotFound(f"There is no token {token_id}.")
        return Response(OperatorTokenDetailSerializer(token).data)


class RetryTokenView(OperationsView):
    permission = RETRY_TOKEN

    @extend_schema(
        operation_id="retry_token",
        tags=["operations"],
        summary="Put a failed token back into the stage it failed in",
        description="Stored results are kept: nothing is paid twice. A token that has not failed "
        "is answered with 409, a second request therefore, too.",
        request=ReasonSerializer,
        responses={
            200: RepairSerializer,
            400: ErrorSerializer,
            404: ErrorSerializer,
            409: ErrorSerializer,
            **_REFUSALS,
        },
        examples=[
            OpenApiExample(
                "reason", value={"reason": "Pinata's key is replaced"}, request_only=True
            )
        ],
    )
    def post(self, request: Request, token_id: int) -> Response:
        given = ReasonSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        if not Token.objects.filter(pk=token_id).exists():
            raise exceptions.NotFound(f"There is no token {token_id}.")
        (result,) = retry_tokens(
            token_ids=[token_id], actor=self.actor, reason=given.validated_data["reason"]
        )
        if not result.done:
            raise Conflict(result.message)
        return Response(RepairSerializer(asdict(result)).data)


def _narrowed(found: TokenQuerySet, query: Mapping[str, object]) -> TokenQuerySet:
    """Keep to what else is asked for; each way has an index (tokens/tests/test_operations.py)."""
    if error_class := query.get("error_class"):
        found = found.filter(error_class=error_class)
        if not query.get("status"):
            found = found.filter(status__in=_UNREVEALED)
    if query.get("held"):
        found = found.filter(held_at__isnull=False)
    if query.get("stalled"):
        found = found.stalled()
    return found
