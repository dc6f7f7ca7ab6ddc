"""The one shape of an API error, `{"detail": <text>}`; and what is answered where no view answers.

The latter is JSON for programs, a page for people.
"""

from typing import Any

import structlog
from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views import defaults
from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

logger = structlog.get_logger(__name__)

FAILURE_DETAIL = "Something went wrong on our side."
AWAY_DETAIL = "The database does not answer; try again in a moment."
AWAY_RETRY_SECONDS = 5
SENSELESS_DETAIL = "The request makes no sense."
DISALLOWED_HOST_DETAIL = (
    "This host is not allowed: the server does not answer to the name in the request's Host "
    "header. Its operator adds names to ALLOWED_HOSTS."
)
_PROGRAMS = ("/api/", "/webhooks/")


_REFUSED = OpenApiExample(
    "refused",
    value={"detail": "limit: Ensure this value is less than or equal to 100."},
    status_codes=["400", "401", "403", "404", "409", "422", "429"],
)


@extend_schema_serializer(examples=[_REFUSED])
class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField(help_text="What went wrong, for people.")


class TryLater(exceptions.APIException):
    """503: the same request may succeed later; `wait`: after so many seconds (Retry-After)."""

    status_code = 503

    def __init__(self, detail: str, *, wait: float | None = None) -> None:
        super().__init__(detail, code="try_later")
        self.wait = wait


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


# -- handlers of glisk/urls.py ---------------------------------------------------------


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404; `detail` is a text, as in every error of the API."""
    if request.path.startswith(_PROGRAMS):
        return JsonResponse({"detail": "There is nothing at this address."}, status=404)
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 to a request that Django refuses, and say so if it is for its host."""
    is_host = isinstance(exception, DisallowedHost)
    if request.path.startswith(_PROGRAMS):
        detail = DISALLOWED_HOST_DETAIL if is_host else SENSELESS_DETAIL
        return JsonResponse({"detail": detail}, status=400)
    return defaults.bad_request(
        request, exception, template_name="400_host.html" if is_host else "400.html"
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 for a fault outside a view, such as a middleware's; never its text."""
    if request.path.startswith(_PROGRAMS):
        return JsonResponse({"detail": FAILURE_DETAIL}, status=500)
    return defaults.server_error(request)
