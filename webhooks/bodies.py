"""Read a request's body, never more of it than is allowed, and the JSON object that it holds."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError

from glisk.clients.foreign_json import loads
from glisk.logging.redaction import storable_text

__all__ = ["plain_text", "read_json_object", "storable_text"]


class BodyTooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is larger than we accept."
    default_code = "body_too_large"


def read_body(request: HttpRequest) -> bytes:
    """Return the raw body, of at most WEBHOOK_MAX_BYTES.

    A body that is announced as larger is refused unread; one without a length (chunked) as soon
    as the limit is passed. Raises `BodyTooLarge`, or `ParseError` if the connection broke off.
    """
    limit = settings.WEBHOOK_MAX_BYTES
    try:
        if _is_chunked(request):
            body = _read_stream(request.META["wsgi.input"], limit)
        else:
            if _announced_length(request) > limit:
                raise BodyTooLarge
            body = request.body
    except RequestDataTooBig as error:
        raise BodyTooLarge from error
    except OSError as error:  # Django's UnreadablePostError, gunicorn's broken chunks
        raise ParseError("The body could not be read.") from error
    if len(body) > limit:
        raise BodyTooLarge
    return body


def _is_chunked(request: HttpRequest) -> bool:
    """Tell whether the body has no announced length, yet an end that the server marks.

    Django takes a request without Content-Length for one without a body.
    """
    return bool(
        "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
        and request.META.get("wsgi.input_terminated")
    )


def _announced_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError as error:
        raise ParseError("The Content-Length is not a number.") from error


def _read_stream(stream: Any, limit: int) -> bytes:
    body = bytearray()
    while (room := limit + 1 - len(body)) > 0 and (piece := stream.read(min(65_536, room))):
        body += piece
    return bytes(body)


def read_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body consists of; raise `ParseError` (400) if it is none."""
    try:
        payload = loads(body, parse_constant=_refuse_constant)
    except ValueError as error:  # JSON, UTF-8 and integers of thousands of digits
        raise ParseError("The body is not valid JSON.") from error
    if not isinstance(payload, dict):
        raise ParseError("The body is not a JSON object.")
    return payload


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def plain_text(value: object, *, max_length: int) -> str:
    """Return a text if it is short and printable ASCII, else an empty one.

    NUL bytes and lone surrogates, which JSON can carry, have no place in PostgreSQL.
    """
    if isinstance(value, str) and len(value) <= max_length and value.isascii():
        return value if value.isprintable() else ""
    return ""
