"""What a token shows before its reveal: metadata and picture of a closed box, on IPFS."""

import json
from pathlib import Path

from sandbox.pinata.ipfs_cid import add_file
from sandbox.pinata.store import ContentStore

_PICTURE = Path(__file__).with_suffix(".png").read_bytes()
_PICTURE_CID = str(add_file(_PICTURE).cid)
_METADATA = json.dumps(
    {
        "name": "GLISK S0 blind box",
        "description": "Not revealed yet.",
        "image": f"ipfs://{_PICTURE_CID}",
        "attributes": [],
    }
).encode()
_METADATA_CID = str(add_file(_METADATA).cid)
PLACEHOLDER_URI = f"ipfs://{_METADATA_CID}"


def pin_placeholder(store: ContentStore) -> None:
    """Let the gateways of this store serve it; harmless when repeated."""
    store.write(_PICTURE_CID, _PICTURE)
    store.write(_METADATA_CID, _METADATA)
