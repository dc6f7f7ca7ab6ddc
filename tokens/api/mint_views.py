"""The API of a mint, for the buyer who waits for its tokens."""

from django.db import connection
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from glisk.api.conditional import conditional_json
from glisk.api.exceptions import ErrorSerializer, TryLater
from glisk.fields import is_hash
from tokens.api import examples
from tokens.api.mint_streams import CONTENT_TYPE, nothing_more, stream_mint
from tokens.api.mint_watch import TooManyListeners
from tokens.api.mints import mint_documents
from tokens.api.serializers import MintSerializer

_HASH_PARAMETER = OpenApiParameter(
    "tx_hash",
    {"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$"},
    OpenApiParameter.PATH,
    description="The mint's transaction.",
)


STREAMS_BUSY = "Too many live streams are open; ask for the mint itself instead."
STREAMS_WAIT_SECONDS = 5


def read_hash(text: str) -> str:
    """Return a transaction hash in lower case; raise `NotFound` for any other text."""
    if not is_hash(text):
        raise exceptions.NotFound("That is no transaction hash: 0x and 64 hex digits.")
    return text.lower()


class MintView(APIView):
    @extend_schema(
        operation_id="mint",
        tags=["mints"],
        summary="The tokens of a mint transaction, with their places in line",
        description=(
            "`position` 1 is the oldest token that is not revealed yet. `estimated_seconds` is "
            "null where nothing can be said. 404 until the mint has been detected, which takes "
            "some seconds."
        ),
        parameters=[_HASH_PARAMETER],
        responses={200: MintSerializer, 404: ErrorSerializer},
        examples=[examples.MINT, examples.UNKNOWN_MINT],
    )
    def get(self, request: Request, tx_hash: str) -> HttpResponse:
        wanted = read_hash(tx_hash)
        document = mint_documents([wanted]).get(wanted)
        if document is None:
            raise exceptions.NotFound("No mint of that transaction has been detected yet.")
        return conditional_json(request, document)


class MintEventsView(APIView):
    @extend_schema(
        operation_id="mint_events",
        tags=["mints"],
        summary="A mint, live: server-sent events until all its tokens are revealed",
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
            return nothing_more()
        try:
            return stream_mint(wanted)
        except TooManyListeners as error:
            raise TryLater(STREAMS_BUSY, wait=STREAMS_WAIT_SECONDS) from error

    def head(self, request: Request, tx_hash: str) -> HttpResponse:
        """Answer without a stream, which nobody would read: it would hold a place to its end."""
        read_hash(tx_hash)
        return HttpResponse(content_type=CONTENT_TYPE)
