"""The addresses that vendors call. No vendor and no chain is called from here."""

import re
from typing import Any, ClassVar

import structlog
from django.conf import settings
from django.db import Error
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import AuthenticationFailed, ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from glisk.api.exceptions import ErrorSerializer, TryLater
from glisk.clients.replicate import parse_prediction
from glisk.metrics import count_webhook
from tokens.pipeline.jobs import record_prediction
from webhooks.alchemy import read_event
from webhooks.authentication import AlchemySignature, ReplicateSignature, read_json_object
from webhooks.inbox import EventNotProcessedError, receive_event

logger = structlog.get_logger(__name__)

_JOB_ID = re.compile(r"[0-9]{1,18}")

# 401 is for a wrong signature, 503 for a key that is not set or a database that does not answer.
_REFUSALS: dict[int, Any] = dict.fromkeys((400, 401, 413, 503), ErrorSerializer)


class SignedWebhookView(APIView):
    """A view that sees only what the authentication class has found signed; counts deliveries."""

    vendor: ClassVar[str]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse other methods before anybody is asked for a signature."""
        if not hasattr(self, (request.method or "").lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        """Have the vendor come again where the database is at fault, or what was to be done."""
        if isinstance(exc, EventNotProcessedError | Error):
            logger.warning("webhook_refused_for_now", error=type(exc).__name__)
            exc = TryLater("The event could not be taken in now; deliver it again.")
        count_webhook(self.vendor, _verdict_of(exc))
        return super().handle_exception(exc)


def _verdict_of(exc: Exception) -> str:
    if isinstance(exc, AuthenticationFailed):
        return "refused"
    return "failed" if isinstance(exc, TryLater) else "malformed"


class AlchemyWebhookView(SignedWebhookView):
    vendor = "alchemy"
    authentication_classes = [AlchemySignature]

    @extend_schema(
        operation_id="webhook_alchemy",
        tags=["webhooks"],
        summary="Take in Alchemy's events",
        description="Signed by X-Alchemy-Signature. 200 for whatever need not come again.",
        auth=[],
        request=OpenApiTypes.OBJECT,
        responses={200: OpenApiTypes.OBJECT, 409: OpenApiTypes.OBJECT, **_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        body: Any = request.auth
        event = read_event(body)
        structlog.contextvars.bind_contextvars(event_id=event.id)
        receipt = receive_event(event, body)
        count_webhook(self.vendor, receipt.status)
        answer: dict[str, Any] = {"status": receipt.status, **receipt.counts}
        if receipt.status == "processed":
            answer["tokens"] = receipt.tokens
        duplicate = receipt.status == "duplicate"
        return Response(answer, status=settings.ALCHEMY_DUPLICATE_STATUS if duplicate else 200)


class ReplicateWebhookView(SignedWebhookView):
    vendor = "replicate"
    authentication_classes = [ReplicateSignature]

    @extend_schema(
        operation_id="webhook_replicate",
        tags=["webhooks"],
        summary="Take in Replicate's predictions",
        description="Signed as Standard Webhooks are. `job` finds a prediction whose id we miss.",
        parameters=[OpenApiParameter("job", int, description="Our id of the generation job.")],
        auth=[],
        request=OpenApiTypes.OBJECT,
        responses={200: OpenApiTypes.OBJECT, **_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        body: Any = request.auth
        try:
            prediction = parse_prediction(read_json_object(body))
        except (ValueError, OverflowError) as error:
            raise ParseError("The body is not a prediction.") from error
        structlog.contextvars.bind_contextvars(prediction_id=prediction.id)
        job = request.query_params.get("job", "")  # as we named it in the callback's address
        job_id = int(job) if _JOB_ID.fullmatch(job) else None
        result = record_prediction(prediction, job_id=job_id)
        status = "ignored" if result == "unknown" else result
        count_webhook(self.vendor, status)
        return Response({"status": status})
