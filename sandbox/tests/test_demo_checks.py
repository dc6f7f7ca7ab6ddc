"""The demo's judgement: right evidence has no fault, and every kind of wrong evidence has one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from PIL import Image

from glisk.cid import compute_cid
from sandbox.accounts import COLLECTORS, KEEPER, STRANGER
from sandbox.chain import Mint, Reveal
from sandbox.demo.evidence import Evidence, TokenEvidence, judge
from sandbox.demo.people import CAST

TX_HASH = "0x" + "ab" * 32
ROW = {
    "status": "revealed",
    "reveal_tx_hash": TX_HASH,
    "minter_address": COLLECTORS[0].address,
}


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def _uri(content: bytes, version: Literal[0, 1]) -> str:
    return f"ipfs://{compute_cid(content, version=version)}"


def _document(token_id: int, image_uri: str, author: int) -> dict[str, Any]:
    handles = (("X", CAST[author].x), ("Farcaster", CAST[author].farcaster))
    return {
        "name": f"GLISK S0 #{token_id}",
        "description": "A picture.",
        "image": image_uri,
        "attributes": [
            {"trait_type": f"Author {name} Handle", "value": f"@{handle}"}
            for name, handle in handles
            if handle
        ]
        + [
            {"trait_type": "Season", "value": "0"},
            {"trait_type": "Model", "value": "black-forest-labs/flux-schnell"},
        ],
    }


def _token(token_id: int, **changes: Any) -> TokenEvidence:
    """Return a token that is right in everything but for the changes to its metadata."""
    author = token_id % len(CAST)
    image = _picture(token_id)
    image_uri = _uri(image, 1)
    metadata = json.dumps({**_document(token_id, image_uri, author), **changes}).encode()
    uri = _uri(metadata, 0)
    return TokenEvidence(
        token_id=token_id,
        uri=uri,
        revealed=True,
        owner=COLLECTORS[0].address,
        prompt_author=CAST[author].wallet,
        metadata=metadata,
        image_uri=image_uri,
        image=image,
        row={
            **ROW,
            "image_cid": image_uri.removeprefix("ipfs://"),
            "metadata_cid": uri.removeprefix("ipfs://"),
            "prompt": CAST[author].prompt,
            "prompt_author_wallet": CAST[author].wallet,
        },
    )


def _evidence(tokens: list[TokenEvidence]) -> Evidence:
    return Evidence(
        tokens=tokens,
        mints=[
            Mint(TX_HASH, 1, 5, TX_HASH, 0, token.owner, token.prompt_author, token.token_id, 1, 0)
            for token in tokens
        ],
        reveals=[
            Reveal(
                TX_HASH, 6, 0, KEEPER.address,
                tuple(token.token_id for token in tokens), tuple(token.uri for token in tokens),
                100_000, 120_000, 1,
            )
        ],
        keeper=KEEPER.address,
        row_count=len(tokens),
        predictions=[f"p{token.token_id}" for token in tokens],
        jobs={f"p{token.token_id}": token.token_id for token in tokens},
    )  # fmt: skip


def _right() -> Evidence:
    return _evidence([_token(1), _token(2), _token(3)])


def _with_second(**changes: Any) -> Evidence:
    right = _right()
    second = replace(right.tokens[1], **changes)
    return replace(right, tokens=[right.tokens[0], second, right.tokens[2]])


def _with_row(**changes: Any) -> Evidence:
    return _with_second(row={**(_token(2).row or {}), **changes})


def _with_metadata(**changes: Any) -> Evidence:
    return _evidence([_token(1), _token(2, **changes), _token(3)])


def _with_reveal(**changes: Any) -> Evidence:
    right = _right()
    return replace(right, reveals=[replace(right.reveals[0], **changes)])


def test_right_evidence_has_no_fault() -> None:
    assert [verdict.faults for verdict in judge(_right())] == [[]] * 7


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        ("mint", lambda: replace(_right(), mints=_right().mints[:2])),
        ("mint", lambda: replace(_right(), tokens=_right().tokens[:2])),
        ("mint", lambda: _with_second(owner=STRANGER.address)),
        ("mint", lambda: _with_second(prompt_author=STRANGER.address)),
        ("tokenURI", lambda: _with_second(revealed=False)),
        ("tokenURI", lambda: _with_second(uri="https://example.org/2")),
        ("tokenURI", lambda: _with_second(uri="ipfs://")),
        ("tokenURI", lambda: _with_second(uri="ipfs://bafkreinocid")),
        ("metadata", lambda: _with_second(metadata=None)),
        ("metadata", lambda: _with_second(metadata=(_token(2).metadata or b"") + b" ")),
        ("metadata", lambda: _with_metadata(name="GLISK S0 #1")),
        ("metadata", lambda: _with_metadata(description="")),
        ("metadata", lambda: _with_metadata(attributes=[])),
        ("metadata", lambda: _with_second(metadata=b"[]", uri=_uri(b"[]", 0))),
        ("metadata", lambda: _with_second(metadata=b"{", uri=_uri(b"{", 0))),
        ("image", lambda: _with_second(image=None)),
        ("image", lambda: _with_second(image=_picture(9))),
        ("image", lambda: _with_second(image=b"<html>", image_uri=_uri(b"<html>", 1))),
        ("image", lambda: _with_second(image=_picture(1), image_uri=_uri(_picture(1), 1))),
        ("revealed once", lambda: replace(_right(), reveals=[])),
        ("revealed once", lambda: replace(_right(), reveals=_right().reveals * 2)),
        ("revealed once", lambda: _with_reveal(sender=STRANGER.address)),
        ("revealed once", lambda: _with_reveal(uris=("ipfs://a", "ipfs://b", "ipfs://c"))),
        ("revealed once", lambda: _with_reveal(token_ids=(1, 2, 4))),
        ("database", lambda: replace(_right(), row_count=4)),
        ("database", lambda: _with_second(row=None)),
        ("database", lambda: _with_row(status="ready")),
        ("database", lambda: _with_row(metadata_cid="QmOther")),
        ("database", lambda: _with_row(image_cid="bafkOther")),
        ("database", lambda: _with_row(reveal_tx_hash="0x" + "cd" * 32)),
        ("database", lambda: _with_row(prompt="another prompt")),
        ("prediction", lambda: replace(_right(), predictions=["p1", "p2"])),
        ("prediction", lambda: replace(_right(), predictions=["p1", "p2", "p2", "p3"])),
        ("prediction", lambda: replace(_right(), predictions=["p1", "p2", "p3", "p4"])),
        ("prediction", lambda: replace(_right(), jobs={"p1": 1, "p2": 1, "p3": 3})),
    ],
)
def test_wrong_evidence_is_a_fault_of_its_check(check: str, wrong: Callable[[], Evidence]) -> None:
    found = [verdict.claim for verdict in judge(wrong()) if verdict.faults]
    assert any(check in claim for claim in found), found
