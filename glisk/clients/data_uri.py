"""Images that come inside a reply, as data URIs (RFC 2397)."""

from __future__ import annotations

import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from glisk.errors import ArtefactError

SCHEME: Final = "data:"
_SMALLEST_OVERHEAD: Final = 4 / 3
_REPLY_BYTES: Final = 4 * 1024 * 1024  # of a reply without its images


def bytes_with_image(max_image_bytes: int) -> int:
    """Return how large a reply may be that holds an image of so many bytes in base64."""
    return int(max_image_bytes * _SMALLEST_OVERHEAD) + _REPLY_BYTES


def without_data(uri: str) -> str:
    """Return a data URI without its data, and any other URI as it is: what is kept of it."""
    return uri.partition(",")[0] if uri.startswith(SCHEME) else uri


def read_data_uri(uri: str, *, max_bytes: int, vendor: str) -> bytes:
    """Return the bytes of a data URI; its media type is not believed.

    Raises ArtefactError if it is damaged or holds more than `max_bytes` bytes.
    """
    head, comma, body = uri[len(SCHEME) :].partition(",")
    if not uri.startswith(SCHEME) or not comma:
        raise _damaged(vendor, "it has no data")
    if len(body) > (max_bytes + 3) * _SMALLEST_OVERHEAD * (1 if _is_base64(head) else 3):
        raise _too_large(vendor, max_bytes)
    try:
        if _is_base64(head):
            data = binascii.a2b_base64(body.encode("ascii"), strict_mode=True)
        else:
            data = unquote_to_bytes(body)
    except (binascii.Error, UnicodeEncodeError):
        raise _damaged(vendor, "its base64 is wrong") from None
    if len(data) > max_bytes:
        raise _too_large(vendor, max_bytes)
    return data


def _is_base64(head: str) -> bool:
    return head.rpartition(";")[2].strip().lower() == "base64"


def _damaged(vendor: str, why: str) -> ArtefactError:
    return ArtefactError(f"{vendor}: the image's data URI is damaged: {why}.", vendor=vendor)


def _too_large(vendor: str, max_bytes: int) -> ArtefactError:
    return ArtefactError(
        f"{vendor}: the image is larger than the limit of {max_bytes} bytes.",
        vendor=vendor,
        code="too_large",
    )
