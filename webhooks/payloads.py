"""Read the JSON of a signed body: whatever it holds, the answer is an object or `ParseError`."""

from typing import Any

from rest_framework.exceptions import ParseError

from glisk.clients.foreign_json import loads
from glisk.logging.redaction import storable_text

__all__ = ["plain_text", "read_json_object", "storable_text"]


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
