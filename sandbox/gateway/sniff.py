"""Tell a file's type by its first bytes."""

from __future__ import annotations

import json

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def content_type(content: bytes) -> str:
    """Return the media type of a file."""
    for signature, media_type in SIGNATURES:
        if content.startswith(signature):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    beginning = content[:512].lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if beginning.startswith(b"<svg") or b"<svg" in beginning:
        return "image/svg+xml"
    return _text_type(content)


def _text_type(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    if text[:1] in ("{", "["):
        try:
            json.loads(text)
        except ValueError:
            return "text/plain; charset=utf-8"
        return "application/json"
    return "text/plain; charset=utf-8"
