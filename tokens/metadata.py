"""The ERC-721 metadata of a token: canonical JSON, ours to the byte.

Fields follow the marketplaces' metadata standard; names and texts continue what is on chain
already ("GLISK S0 #N"). The text is stored with the token, so a later change of a handle or
of this module does not change a file whose CID is already known.
"""

import json

from glisk.foreign_json import loads

DESCRIPTION = "GLISK Season 0. https://x.com/getglisk"


def build_metadata(
    *,
    token_id: int,
    image_cid: str,
    twitter_handle: str | None,
    farcaster_handle: str | None,
) -> str:
    """Return the metadata as canonical JSON: sorted keys, no blanks, UTF-8 characters as such."""
    attributes = [
        {"trait_type": trait, "value": "@" + handle.removeprefix("@")}
        for trait, handle in (
            ("Author X Handle", twitter_handle),
            ("Author Farcaster Handle", farcaster_handle),
        )
        if handle
    ]
    document = {
        "name": f"GLISK S0 #{token_id}",
        "description": DESCRIPTION,
        "image": f"ipfs://{image_cid}",
        "attributes": attributes,
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def metadata_fault(text: bytes, *, token_id: int, image_cid: str) -> str | None:
    """Return what is wrong with metadata that is about to be revealed, or None."""
    try:
        document = loads(text)
    except ValueError:
        return "the metadata is not JSON"
    if not isinstance(document, dict):
        return "the metadata is not a JSON object"
    if document.get("name") != f"GLISK S0 #{token_id}":
        return f"the metadata's name is not that of token {token_id}"
    if document.get("image") != f"ipfs://{image_cid}":
        return "the metadata points to another image"
    if not isinstance(document.get("attributes"), list):
        return "the metadata has no list of attributes"
    return None
