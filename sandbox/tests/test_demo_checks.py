"""The demo's judgement: right evidence has no fault, and every kind of wrong evidence has one."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any, Literal

from PIL import Image

from glisk.cid import compute_cid
from sandbox.accounts import COLLECTORS, KEEPER, STRANGER
from sandbox.chain import Mint, Reveal
from sandbox.demo.evidence import Evidence, TokenEvidence, judge
from sandbox.demo.people import CAST

TX_HASH = "0x" + "ab" * 32
AUTHOR = CAST[1]


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def _uri(content: bytes, version: Literal[0, 1]) -> str:
    return f"ipfs://{compute_cid(content, version=version)}"


def _token(token_id: int, **changes: Any) -> TokenEvidence:
    """Return a token that is right in everything but for the changes to its metadata."""
    image = _picture(token_id)
    document = {
        "name": f"GLISK S0 #{token_id}",
        "description": "A picture.",
        "image": _uri(image, 1),
        "attributes": [
            {"trait_type": "Author X Handle", "value": f"@{AUTHOR.x}"},
            {"trait_type": "Season", "value": "0"},
            {"trait_type": "Model", "value": "black-forest-labs/flux-schnell"},
        ],
    }
    metadata = json.dumps(document | changes).encode()
    return TokenEvidence(
        token_id=token_id,
        uri=_uri(metadata, 0),
        revealed=True,
        owner=COLLECTORS[0].address,
        prompt_author=AUTHOR.wallet,
        metadata=metadata,
        image_uri=_uri(image, 1),
        image=image,
        row={
            "status": "revealed",
            "reveal_tx_hash": TX_HASH,
            "minter_address": COLLECTORS[0].address,
            "image_cid": compute_cid(image, version=1),
            "metadata_cid": compute_cid(metadata, version=0),
            "prompt": AUTHOR.prompt,
            "prompt_author_wallet": AUTHOR.wallet,
        },
    )


def _evidence(*tokens: TokenEvidence) -> Evidence:
    ids, uris = zip(*((token.token_id, token.uri) for token in tokens), strict=True)
    return Evidence(
        tokens=list(tokens),
        mints=[
            Mint(TX_HASH, 1, 5, TX_HASH, 0, token.owner, token.prompt_author, token.token_id, 1, 0)
            for token in tokens
        ],
        reveals=[Reveal(TX_HASH, 6, 0, KEEPER.address, ids, uris, 100_000, 120_000, 1)],
        keeper=KEEPER.address,
        row_count=len(tokens),
        predictions=[f"p{token_id}" for token_id in ids],
        jobs={f"p{token_id}": token_id for token_id in ids},
    )


RIGHT = _evidence(_token(1), _token(2))
NO_JSON = b"{"


def _with(**changes: Any) -> Evidence:
    return replace(RIGHT, **changes)


def _with_second(**changes: Any) -> Evidence:
    return _with(tokens=[RIGHT.tokens[0], replace(RIGHT.tokens[1], **changes)])


def _with_row(**changes: Any) -> Evidence:
    return _with_second(row={**(RIGHT.tokens[1].row or {}), **changes})


def _with_metadata(**changes: Any) -> Evidence:
    return _evidence(_token(1), _token(2, **changes))


WRONG = {
    "mint": [
        _with(mints=RIGHT.mints[:1]),
        _with(tokens=RIGHT.tokens[:1]),
        _with_second(owner=STRANGER.address),
    ],
    "tokenURI": [_with_second(revealed=False), _with_second(uri="ipfs://bafkreinocid")],
    "metadata": [
        _with_second(metadata=None),
        _with_second(metadata=(RIGHT.tokens[1].metadata or b"") + b" "),
        _with_second(metadata=b"{", uri=_uri(b"{", 0)),
        _with_metadata(name="GLISK S0 #1"),
        _with_metadata(attributes=[]),
    ],
    "image": [
        _with_second(image=None),
        _with_second(image=_picture(9)),
        _with_second(image=b"<html>", image_uri=_uri(b"<html>", 1)),
        _with_second(image=_picture(1), image_uri=_uri(_picture(1), 1)),
    ],
    "revealed once": [
        _with(reveals=[]),
        _with(reveals=RIGHT.reveals * 2),
        _with(reveals=[replace(RIGHT.reveals[0], sender=STRANGER.address)]),
        _with(reveals=[replace(RIGHT.reveals[0], uris=("ipfs://a", "ipfs://b"))]),
        _with(reveals=[replace(RIGHT.reveals[0], token_ids=(1, 3))]),
    ],
    "database": [_with(row_count=3), _with_second(row=None), _with_row(metadata_cid="QmOther")],
    "prediction": [
        _with(predictions=["p1"]),
        _with(predictions=["p1", "p2", "p2"]),
        _with(predictions=["p1", "p2", "p3"]),
        _with(jobs={"p1": 1, "p2": 1}),
    ],
}


def test_right_evidence_has_no_fault_and_wrong_evidence_has_one_of_its_check() -> None:
    assert [verdict.faults for verdict in judge(RIGHT)] == [[]] * 7
    for check, cases in WRONG.items():
        for number, wrong in enumerate(cases):
            found = [verdict.claim for verdict in judge(wrong) if verdict.faults]
            assert any(check in claim for claim in found), (check, number, found)
