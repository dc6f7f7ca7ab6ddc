"""A whole reply, and what its body says of a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import requests

from glisk.errors import PermanentError, TransientError
from glisk.foreign_json import loads

_EXCERPT_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with its whole (bounded) body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, response: requests.Response) -> Self:
        return cls(response.status_code, response.headers, response.content)

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty one if it is anything else."""
        try:
            value = loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def excerpt(self) -> str:
        text = self.body[: 4 * _EXCERPT_LENGTH].decode("utf-8", "replace")
        return " ".join(text.split())[:_EXCERPT_LENGTH]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a vendor's error body says.

    `kind` overrides the class that the status alone would give; `retry_after_seconds` is used
    when the header is missing; `rate_limited` says of a transient fault what the status 429 does.
    """

    detail: str
    code: str | None = None
    kind: type[TransientError | PermanentError] | None = None
    retry_after_seconds: float | None = None
    rate_limited: bool = False


def read_plain(reply: Reply) -> Fault:
    return Fault(reply.excerpt())
