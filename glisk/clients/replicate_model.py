"""Which model of Replicate makes the images, as REPLICATE_MODEL_VERSION names it."""

from __future__ import annotations

import re
from typing import NamedTuple

_MODEL = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<version>[0-9a-f]{64}))?", re.ASCII)
_VERSION = re.compile(r"[0-9a-f]{64}")


class ModelReference(NamedTuple):
    """A model as predictions are made of it: `owner/name`, or a version of 64 hex digits."""

    name: str | None
    version: str | None

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        """Read `owner/name`, `owner/name:version` or `version`; raise ValueError otherwise."""
        text = text.strip()
        if _VERSION.fullmatch(text):
            return cls(None, text)
        match = _MODEL.fullmatch(text)
        if match is None:
            raise ValueError(
                "REPLICATE_MODEL_VERSION must be owner/name, owner/name:version or a version of "
                "64 hex digits"
            )
        return cls(match["name"], match["version"])
