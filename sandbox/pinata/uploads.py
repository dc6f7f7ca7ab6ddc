"""Read what a request to pin asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sandbox.http import Request
from sandbox.pinata.javascript_json import stringify
from sandbox.pinata.multipart import MalformedMultipart, parse_multipart

LARGEST_FILE = 100 * 1024 * 1024  # bytes; more needs the resumable upload API
LARGEST_JSON = 10 * 1024 * 1024
MOST_KEYVALUES = 10


class InvalidUpload(ValueError):
    """Say why a request to pin is refused with a 400."""


@dataclass(frozen=True)
class Upload:
    """Hold a file to pin and its options, not yet checked."""

    content: bytes
    options: dict[str, Any]
    metadata: dict[str, Any]
    filename: str | None = None

    def check(self) -> None:
        """Raise InvalidUpload for options that Pinata refuses."""
        if self.options.get("cidVersion", 1) not in (0, 1, "0", "1"):
            raise InvalidUpload("cidVersion must be 0 or 1")
        if self.options.get("wrapWithDirectory"):
            raise InvalidUpload("wrapWithDirectory is not emulated")
        keyvalues = self.keyvalues
        if len(keyvalues) > MOST_KEYVALUES:
            raise InvalidUpload(f"keyvalues may have {MOST_KEYVALUES} entries at most")
        if any(isinstance(text, (dict, list)) for text in keyvalues.values()):
            raise InvalidUpload("keyvalues must be strings or numbers")
        if len(self.content) > LARGEST_FILE:
            raise InvalidUpload("the file is too large")

    @property
    def cid_version(self) -> int:
        """Return the CID version asked for; 0 is what the legacy API does by itself."""
        return int(self.options.get("cidVersion", 0))

    @property
    def name(self) -> str | None:
        """Return the name in the list of pins."""
        return self.metadata.get("name") or self.filename

    @property
    def keyvalues(self) -> dict[str, Any]:
        """Return the metadata's own keys."""
        return self.metadata.get("keyvalues") or {}


def read_file_upload(request: Request) -> Upload:
    """Read a pinFileToIPFS request; raises InvalidUpload."""
    try:
        parts = parse_multipart(request.headers.get("content-type", ""), request.body)
    except MalformedMultipart as error:
        raise InvalidUpload(str(error)) from None
    files = [part for part in parts if part.name == "file"]
    if len(files) != 1:
        raise InvalidUpload("exactly one file is expected")
    fields = {part.name: part.content for part in parts if part.name != "file"}
    return Upload(
        files[0].content,
        _json_object(fields.get("pinataOptions"), "pinataOptions"),
        _json_object(fields.get("pinataMetadata"), "pinataMetadata"),
        files[0].filename,
    )


def read_json_upload(request: Request) -> Upload:
    """Read a pinJSONToIPFS request; raises InvalidUpload."""
    body = _json_object(request.body, "the body")
    if len(request.body) > LARGEST_JSON:
        raise InvalidUpload("the JSON is too large")
    content = body.get("pinataContent", body)
    return Upload(
        stringify(content).encode(),
        body.get("pinataOptions") or {},
        body.get("pinataMetadata") or {},
    )


def _json_object(text: bytes | None, name: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        parsed = json.loads(text)
    except ValueError:
        raise InvalidUpload(f"{name} is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise InvalidUpload(f"{name} must be a JSON object")
    return parsed
