"""The ERC-721 metadata of a token: canonical JSON, ours to the byte.

Fields follow the marketplaces' metadata standard; names and texts continue what is on chain
already ("GLISK S0 #N"). The text is stored with the token, so a later change of a handle, of a
setting or of this module does not change a file whose CID is already known.
"""

from __future__ import annotations

import json
import re

from django.conf import settings

from glisk.clients.http import loads

# What `build_metadata` writes; the timeline keeps which one a token has.
#   1  author's handles
#   2  and season and model
METADATA_VERSION = 2

_NUMBER_AT_END = re.compile(r"#(\d{1,19})", re.ASCII)


def build_metadata(
    *,
    token_id: int,
    image_cid: str,
    twitter_handle: str | None,
    farcaster_handle: str | None,
    model: str = "",
) -> str:
    """Return the metadata as canonical JSON: sorted keys, no blanks, UTF-8 characters as such.

    `model` is what made this image, `owner/name` or `owner/name:version`; the version is left out.
    """
    traits = (
        ("Author X Handle", _handle(twitter_handle)),
        ("Author Farcaster Handle", _handle(farcaster_handle)),
        ("Season", str(settings.SEASON)),
        ("Model", model.partition(":")[0]),
    )
    document = {
        "name": token_name(token_id),
        "description": settings.METADATA_DESCRIPTION,
        "image": f"ipfs://{image_cid}",
        "attributes": [{"trait_type": trait, "value": value} for trait, value in traits if value],
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def token_name(token_id: int) -> str:
    return f"{settings.COLLECTION_NAME} S{settings.SEASON} #{token_id}"


def token_uri(*, metadata_cid: str | None, adopted_uri: str | None) -> str | None:
    """Return the URI that is, or that the reveal writes, on chain; None as long as none is known.

    `adopted_uri` is that of a reveal by somebody else, which may be empty.
    """
    if adopted_uri is not None:
        return adopted_uri
    return f"ipfs://{metadata_cid}" if metadata_cid else None


def _handle(handle: str | None) -> str:
    bare = (handle or "").strip().removeprefix("@")
    return f"@{bare}" if bare else ""


def metadata_fault(text: bytes, *, token_id: int, image_cid: str) -> str | None:
    """Return what is wrong with metadata that is about to be revealed, or None.

    The name's number must be the token's; its words may be those of earlier settings.
    """
    try:
        document = loads(text)
    except ValueError:
        return "the metadata is not JSON"
    if not isinstance(document, dict):
        return "the metadata is not a JSON object"
    if _number_in(document.get("name")) != token_id:
        return f"the metadata's name is not that of token {token_id}"
    if document.get("image") != f"ipfs://{image_cid}":
        return "the metadata points to another image"
    if not isinstance(document.get("attributes"), list):
        return "the metadata has no list of attributes"
    return None


def _number_in(name: object) -> int | None:
    found = _NUMBER_AT_END.fullmatch(name.rpartition(" ")[2]) if isinstance(name, str) else None
    return int(found[1]) if found else None
