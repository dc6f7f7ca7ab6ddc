"""The one shape of an API error: `{"detail": <text>}`."""

from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import UnreadablePostError
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

logger = structlog.get_logger(__name__)

FAILURE_DETAIL = "Something went wrong on our side."
AWAY_DETAIL = "The database does not answer; try again in a moment."
AWAY_RETRY_SECONDS = 5
SENSELESS_DETAIL = "The request makes no sense."


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField(help_text="What went wrong, for people.")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn any error into one text, never an internal message.

    A view says in `failure_detail` what failed, where the frontend expects words of its own (and
    500); everywhere else a database that is away is 503.
    """
    response = drf_exception_handler(error, context)
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        # Too many parameters, a body that broke off: Django answers 400 outside the framework.
        return Response({"detail": SENSELESS_DETAIL}, status=400)
    if response is None:
        detail = getattr(context.get("view"), "failure_detail", None)
        if isinstance(error, OperationalError | InterfaceError) and detail is None:
            # Not the whole traceback for each of the requests that come during an outage.
            logger.error("database_unreachable", error=type(error).__name__)
            headers = {"Retry-After": str(AWAY_RETRY_SECONDS)}
            return Response({"detail": AWAY_DETAIL}, status=503, headers=headers)
        logger.error("request_failed", exc_info=error)
        return Response({"detail": detail or FAILURE_DETAIL}, status=500)
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
