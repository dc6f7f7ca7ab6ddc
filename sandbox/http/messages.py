"""Describe one HTTP request and one reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass(slots=True)
class Request:
    """Hold one received request; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    subject: str = ""  # what the call was about (prediction id, CID), for the call log

    @property
    def path(self) -> str:
        """Return the decoded path without the query."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """Return the query parameters; the last one of a name wins."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def json(self) -> Any:
        """Parse the body as JSON; raises ValueError when it is none."""
        return json.loads(self.body or b"null")


@dataclass(slots=True)
class Response:
    """Hold one reply, and how faithfully it travels.

    `bytes_per_second` slows the body down; `cut_after` sends that many body bytes under the
    full Content-Length and then resets the connection.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    bytes_per_second: float = 0.0
    cut_after: int | None = None


def json_response(
    payload: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Build a reply with a compact JSON body."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(
        status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def text_response(
    text: str, status: int = 200, content_type: str = "text/plain; charset=utf-8"
) -> Response:
    """Build a reply with a text body."""
    return Response(status, text.encode(), {"Content-Type": content_type})
