"""JSON is all that the API takes and gives.

Apart from glisk.api.exceptions and views: DRF imports it while its own views are being imported.
"""

from collections.abc import Iterable, Mapping
from typing import IO, Any

from rest_framework import exceptions, serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from glisk.foreign_json import loads

MAX_BODY_BYTES = 128 * 1024


def read_json(body: bytes) -> Any:
    """Return what a body of JSON holds; raise `ParseError` (400) if it is none."""
    try:
        return loads(body, parse_constant=_refuse_constant)
    except ValueError:  # JSON, UTF-8 and integers of thousands of digits
        raise exceptions.ParseError("The body is not JSON.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


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
        return read_json(body)


class AlwaysJSON(BaseContentNegotiation):
    """Answer in the view's first form, whatever the Accept header or `?format=` says.

    A 406 would be retried by a vendor, and help nobody else.
    """

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class StrictCharField(serializers.CharField):
    """A text that is a JSON string; DRF would turn a number or a boolean into one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text
