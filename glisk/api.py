"""The one shape of an API error: `{"detail": <text>}`."""

from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.http import UnreadablePostError
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

logger = structlog.get_logger(__name__)

FAILURE_DETAIL = "Something went wrong on our side."
SENSELESS_DETAIL = "The request makes no sense."


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField(help_text="What went wrong, for people.")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn any error into one text, never an internal message.

    A view says in `failure_detail` what failed, where the frontend expects words of its own.
    """
    response = drf_exception_handler(error, context)
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        # Too many parameters, a body that broke off: Django answers 400 outside the framework.
        return Response({"detail": SENSELESS_DETAIL}, status=400)
    if response is None:
        logger.error("request_failed", exc_info=error)
        detail = getattr(context.get("view"), "failure_detail", FAILURE_DETAIL)
        return Response({"detail": detail}, status=500)
    if isinstance(error, exceptions.APIException):
        response.data = {"detail": " ".join(_texts(error.detail))}
    return response


def _texts(detail: Any, field: str = "") -> list[str]:
    """Flatten DRF's nested error details into sentences that name their field."""
    if isinstance(detail, dict):
        return [text for key, value in detail.items() for text in _texts(value, str(key))]
    if isinstance(detail, list):
        return [text for value in detail for text in _texts(value, field)]
    named = field and field not in ("detail", "non_field_errors")
    return [f"{field}: {detail}" if named else str(detail)]
