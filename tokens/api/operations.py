"""The operations API of tokens, for scripts of the staff."""

from dataclasses import asdict

from django.db.models import Prefetch
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.exceptions import ErrorSerializer
from glisk.api.views import REFUSALS, OperationsView
from glisk.permissions import RETRY_TOKEN
from tokens.api.serializers import ShownSerializer, TokenQuery, limit_field
from tokens.api.views import page_of, read_query
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenTransition
from tokens.repairs import retry_tokens
from tokens.states import ACTIVE, TokenStatus


class OperatorTokenQuery(TokenQuery):
    """The query string of the operators' list of tokens."""

    error_class = serializers.CharField(
        required=False, max_length=40, help_text="Of tokens that wait or failed, e.g. `transient`."
    )
    held = serializers.BooleanField(required=False, help_text="`true`: held tokens only.")
    stalled = serializers.BooleanField(
        required=False, help_text="`true`: only tokens whose worker is gone."
    )
    limit = limit_field(default=50, most=200)


# How the columns are kept; what of them a script needs is shown under other names.
_INTERNAL = (
    "author",
    "prompt_author_wallet",
    "mint_event",
    "adopted_uri",
    "lease_number",
    "automatic_retries",
    "created_at",
    "updated_at",
)


class OperatorTokenSerializer(ShownSerializer):
    author_address = serializers.CharField(source="prompt_author_wallet")

    class Meta:
        model = Token
        exclude: tuple[str, ...] = (*_INTERNAL, "prompt", "metadata_text", "image_url", "error_log")


class OperatorTokenPageSerializer(serializers.Serializer):
    tokens = OperatorTokenSerializer(many=True)
    next_before = serializers.IntegerField(allow_null=True, help_text="null on the last page.")


class TransitionSerializer(ShownSerializer):
    class Meta:
        model = TokenTransition
        exclude = ("id", "token")


class JobSerializer(ShownSerializer):
    class Meta:
        model = ImageGenerationJob
        exclude = ("token", "prompt", "prompt_text", "input", "output_url", "look_at", "looks")


class UploadSerializer(ShownSerializer):
    class Meta:
        model = IPFSUploadRecord
        exclude = ("id", "token", "ipfs_cid")


class OperatorTokenDetailSerializer(OperatorTokenSerializer):
    """A token with its whole history: timeline, generation jobs and uploads, oldest first."""

    token_uri = serializers.CharField(allow_null=True)
    mint_tx_hash = serializers.CharField(source="mint_event.tx_hash", default=None, allow_null=True)
    timeline = TransitionSerializer(source="transitions", many=True)
    jobs = JobSerializer(source="generation_jobs", many=True)
    uploads = UploadSerializer(source="upload_records", many=True)

    class Meta(OperatorTokenSerializer.Meta):
        exclude = _INTERNAL


class ReasonSerializer(serializers.Serializer):
    reason = serializers.CharField(
        default="", allow_blank=True, max_length=500, help_text="Goes into the token's timeline."
    )


class RepairSerializer(serializers.Serializer):
    """What came of it for one token."""

    token_id = serializers.IntegerField()
    done = serializers.BooleanField()
    message = serializers.CharField(help_text="What was done, or why nothing was.")
    pays = serializers.BooleanField(help_text="It leads to a new prediction, which costs money.")


class Conflict(exceptions.APIException):
    """The token's state does not allow it; the detail says why."""

    status_code = status.HTTP_409_CONFLICT


class OperatorTokenListView(OperationsView):
    permission = "tokens.view_token"

    @extend_schema(
        operation_id="operator_tokens",
        tags=["operations"],
        summary="List tokens with their state of work, newest first",
        description="Pages follow by token id: pass `next_before` as `before`.",
        parameters=[OperatorTokenQuery],
        responses={200: OperatorTokenPageSerializer, 422: ErrorSerializer, **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        query = read_query(request, OperatorTokenQuery)
        limit, error_class = query.pop("limit"), query.pop("error_class", "")
        held, stalled = query.pop("held", False), query.pop("stalled", False)
        found = Token.objects.newest_first(**query)
        if error_class:
            found = found.filter(error_class=error_class)
            if "status" not in query:  # of the others: an index has them by state
                found = found.filter(status__in=(*ACTIVE, TokenStatus.FAILED))
        if held:
            found = found.filter(held_at__isnull=False)
        if stalled:
            found = found.stalled()
        return page_of(found, limit, OperatorTokenSerializer)


class OperatorTokenView(OperationsView):
    permission = "tokens.view_token"

    @extend_schema(
        operation_id="operator_token",
        tags=["operations"],
        summary="Get one token with its whole history",
        responses={200: OperatorTokenDetailSerializer, 404: ErrorSerializer, **REFUSALS},
    )
    def get(self, request: Request, token_id: int) -> Response:
        history = (
            "transitions",
            Prefetch("generation_jobs", ImageGenerationJob.objects.order_by("id")),
            Prefetch("upload_records", IPFSUploadRecord.objects.order_by("id")),
        )
        found = Token.objects.select_related("mint_event").prefetch_related(*history)
        token = get_object_or_404(found, pk=token_id)
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
            **dict.fromkeys((400, 404, 409), ErrorSerializer),
            **REFUSALS,
        },
    )
    def post(self, request: Request, token_id: int) -> Response:
        given = ReasonSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        get_object_or_404(Token, pk=token_id)
        (result,) = retry_tokens(
            token_ids=[token_id], actor=self.actor, reason=given.validated_data["reason"]
        )
        if not result.done:
            raise Conflict(result.message)
        return Response(RepairSerializer(asdict(result)).data)
