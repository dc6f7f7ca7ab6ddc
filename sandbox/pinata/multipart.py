"""Parse multipart/form-data bodies (RFC 7578), as every client writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from itertools import pairwise


class MalformedMultipart(ValueError):
    """Say that a body is no multipart/form-data."""


@dataclass(frozen=True)
class Part:
    """Hold one field; `filename` is None for plain fields."""

    name: str
    filename: str | None
    content_type: str
    content: bytes


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """Split a body into its fields; raises MalformedMultipart."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise MalformedMultipart("multipart/form-data with a boundary is expected")
    delimiter = b"--" + boundary.encode("latin-1")
    positions = list(_delimiters(body, delimiter))
    if not positions or not positions[-1][2]:
        raise MalformedMultipart("the body does not end with the closing boundary")
    return [
        _part(memoryview(body)[start:end]) for (_, start, _), (end, _, _) in pairwise(positions)
    ]


def _delimiters(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """Find (end of what is before, start of what follows, whether it is the last one)."""
    search_from = 0
    while (at := body.find(delimiter, search_from)) >= 0:
        after = at + len(delimiter)
        search_from = after
        if at > 0 and body[at - 1 : at] != b"\n":
            continue  # boundaries stand at the beginning of a line
        before = at - 2 if body[max(0, at - 2) : at] == b"\r\n" else max(0, at - 1)
        if body[after : after + 2] == b"--":
            yield before, after + 2, True
            return
        line_end = re.compile(rb"[ \t]*\r?\n").match(body, after)
        if line_end is not None:
            yield before, line_end.end(), False


def _part(raw: memoryview) -> Part:
    separator = re.compile(rb"\r?\n\r?\n").search(raw)
    if separator is None:
        raise MalformedMultipart("a part has no headers")
    header = Message()
    for line in bytes(raw[: separator.start()]).decode("utf-8", "replace").splitlines():
        name, colon, text = line.partition(":")
        if colon:
            header[name.strip()] = text.strip()
    field_name = header.get_param("name", header="content-disposition")
    if not isinstance(field_name, str):
        raise MalformedMultipart("a part has no name")
    return Part(
        field_name, _filename(header), header.get_content_type(), bytes(raw[separator.end() :])
    )


def _filename(header: Message) -> str | None:
    filename = header.get_param("filename", header="content-disposition")
    return None if filename is None else collapse_rfc2231_value(filename)
