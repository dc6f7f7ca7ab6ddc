"""What every endpoint shares: the one shape of an error, `{"detail": <text>}`, and the parser."""

from collections.abc import Mapping
from typing import IO, Any

import structlog
from rest_framework import exceptions, serializers
from rest_framework.parsers import JSONParser
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from glisk.foreign_json import loads

logger = structlog.get_logger(__name__)

MAX_BODY_BYTES = 128 * 1024
FAILURE_DETAIL = "Something went wrong on our side."


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField(help_text="What went wrong, for people.")


class BoundedJSONParser(JSONParser):
    """Parse a body of bounded size and depth; anything else is a 400, never a 500."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise exceptions.ParseError(f"The body is larger than {MAX_BODY_BYTES} bytes.")
        try:
            return loads(body, parse_constant=_refuse_constant)
        except ValueError:
            raise exceptions.ParseError("The body is not JSON.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn any error into one text, never an internal message.

    A view says in `failure_detail` what failed, where the frontend expects words of its own.
    """
    response = drf_exception_handler(error, context)
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
