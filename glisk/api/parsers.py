"""How request bodies are read.

Apart from glisk.api.exceptions, which the framework's views must precede.
"""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework import exceptions
from rest_framework.parsers import JSONParser

from glisk.clients.foreign_json import loads

MAX_BODY_BYTES = 128 * 1024


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
