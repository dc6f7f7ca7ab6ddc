"""Bring detected tokens up to the reveal's door, inside the program, without any vendor.

    python -m benchmarks.reveal_seed STORE

Every image differs, every CID is that of its bytes, and both files lie in the gateway's store:
what the reveal verifies is as real as after generation and upload. The tokens stay `uploading`
and wait; to make them ready is the measurement's first moment.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from itertools import pairwise

import django

LATER = datetime(2999, 1, 1, tzinfo=UTC)
IMAGE_SIZE = 64


def image_of(token_id: int) -> bytes:
    """Return a small PNG that no other token has."""
    from PIL import Image

    colour = (token_id % 256, token_id // 256 % 256, 128)
    out = io.BytesIO()
    Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), colour).save(out, "PNG")
    return out.getvalue()


def main(arguments: list[str]) -> int:
    """Print how many tokens wait for their reveal."""
    django.setup()
    from glisk.cid import compute_cid
    from sandbox.pinata.store import ContentStore
    from tokens.models import Token
    from tokens.pipeline.metadata import build_metadata
    from tokens.states import TokenStatus
    from tokens.transitions.status import Move, move_tokens

    store = ContentStore(arguments[0])
    fields = {}
    for token_id in Token.objects.filter(status="detected").values_list("token_id", flat=True):
        image = image_of(token_id)
        image_cid = compute_cid(image, version=1)
        text = build_metadata(
            token_id=token_id, image_cid=image_cid, twitter_handle=None, farcaster_handle=None
        )
        metadata_cid = compute_cid(text.encode(), version=0)
        store.write(image_cid, image)
        store.write(metadata_cid, text.encode())
        fields[token_id] = {
            "image_cid": image_cid,
            "metadata_text": text,
            "metadata_cid": metadata_cid,
        }
    steps = (TokenStatus.DETECTED, TokenStatus.GENERATING, TokenStatus.UPLOADING)
    for source, target in pairwise(steps):
        moves = [Move(token_id=token_id, fields=fields[token_id]) for token_id in fields]
        move_tokens(moves, source=source, target=target, actor=__name__)
    # Nobody waits for company that waits itself.
    Token.objects.filter(token_id__in=fields).update(next_attempt_at=LATER)
    print(len(fields))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
