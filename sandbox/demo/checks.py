"""Judge the evidence: each check names what it looked at and every fault that it found."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from PIL import Image, UnidentifiedImageError

from glisk.cid import cid_matches, is_cid
from sandbox.demo.evidence import Evidence, TokenEvidence
from sandbox.demo.people import author_of

_IPFS_URI = re.compile(r"ipfs://([A-Za-z0-9]+)")
_SMALLEST_SIDE = 64  # pixels


@dataclass(frozen=True)
class Verdict:
    """What one check found; `looked_at` counts what it judged."""

    claim: str
    looked_at: int
    faults: list[str]


def judge(evidence: Evidence) -> list[Verdict]:
    """Return every check's verdict; all is well if none has a fault."""
    tokens = len(evidence.tokens)
    checks: list[tuple[str, int, Callable[[Evidence], Iterator[str]]]] = [
        ("every mint's tokens are there, with their owner and author", tokens, _mints),
        ("tokenURI is ipfs:// and a CID", tokens, _uris),
        ("the metadata at the gateway hashes to that CID, and is right", tokens, _metadata),
        ("the image's bytes hash to its CID; no two are the same", tokens, _images),
        ("each was revealed once, by the keeper", tokens, _reveals),
        ("the database agrees with the chain", evidence.row_count, _rows),
        ("exactly one paid prediction per token", len(evidence.predictions), _predictions),
    ]  # fmt: skip
    return [Verdict(claim, looked_at, list(check(evidence))) for claim, looked_at, check in checks]


def _mints(evidence: Evidence) -> Iterator[str]:
    """The mints tile the token ids without a gap, and the chain keeps who minted what."""
    expected: dict[int, tuple[str, str]] = {}
    for mint in evidence.mints:
        for token_id in range(mint.start_token_id, mint.start_token_id + mint.quantity):
            expected[token_id] = (mint.minter, mint.prompt_author)
    found = {token.token_id: (token.owner, token.prompt_author) for token in evidence.tokens}
    for token_id in sorted(expected.keys() ^ found.keys()):
        yield f"token {token_id} is {'not there' if token_id in expected else 'of no mint'}"
    for token_id in sorted(expected.keys() & found.keys()):
        if expected[token_id] != found[token_id]:
            yield f"token {token_id} has another owner or author than its mint"


def _uris(evidence: Evidence) -> Iterator[str]:
    for token in evidence.tokens:
        if not token.revealed:
            yield f"token {token.token_id} is not revealed"
        elif not _cid_of(token.uri):
            yield f"token {token.token_id}: tokenURI is {token.uri[:80]!r}"


def _metadata(evidence: Evidence) -> Iterator[str]:
    for token in evidence.tokens:
        if token.metadata is None:
            yield f"token {token.token_id}: nothing at the gateway for {token.uri[:80]}"
        elif not _hashes_to(token.metadata, token.uri):
            yield f"token {token.token_id}: the metadata's bytes do not hash to {token.uri[:80]}"
        elif fault := _document_fault(token):
            yield f"token {token.token_id}: {fault}"


def _document_fault(token: TokenEvidence) -> str:
    """Return what is wrong with the metadata as an ERC-721 document, or an empty text."""
    try:
        document = json.loads(token.metadata or b"")
    except ValueError:
        return "the metadata is not JSON"
    if not isinstance(document, dict):
        return "the metadata is not a JSON object"
    if document.get("name") != f"GLISK S0 #{token.token_id}":
        return f"the metadata's name is {document.get('name')!r}"
    if not isinstance(document.get("description"), str) or not document["description"]:
        return "the metadata has no description"
    author = author_of(token.prompt_author)
    handles = (author.x, author.farcaster) if author else (None, None)
    wanted = [
        {"trait_type": trait, "value": f"@{handle}"}
        for trait, handle in zip(
            ("Author X Handle", "Author Farcaster Handle"), handles, strict=True
        )
        if handle
    ]
    wanted += [
        {"trait_type": "Season", "value": "0"},
        {"trait_type": "Model", "value": "black-forest-labs/flux-schnell"},
    ]
    if document.get("attributes") != wanted:
        return f"the metadata's attributes are {document.get('attributes')!r}"
    return ""


def _images(evidence: Evidence) -> Iterator[str]:
    first_with: dict[str, int] = {}
    for token in evidence.tokens:
        if token.image is None:
            yield f"token {token.token_id}: nothing at the gateway for {token.image_uri[:80]!r}"
            continue
        if not _hashes_to(token.image, token.image_uri):
            yield f"token {token.token_id}: the image's bytes do not hash to {token.image_uri[:80]}"
        if not _is_picture(token.image):
            yield f"token {token.token_id}: the image is no picture"
        digest = sha256(token.image).hexdigest()
        twin = first_with.setdefault(digest, token.token_id)
        if twin != token.token_id:
            yield f"token {token.token_id} has the picture of token {twin}"


def _reveals(evidence: Evidence) -> Iterator[str]:
    uris = {token.token_id: token.uri for token in evidence.tokens}
    times: Counter[int] = Counter()
    for reveal in evidence.reveals:
        if reveal.sender != evidence.keeper:
            yield f"{reveal.tx_hash} was sent by {reveal.sender}, not by the keeper"
        for token_id, uri in zip(reveal.token_ids, reveal.uris, strict=True):
            times[token_id] += 1
            if uris.get(token_id) != uri:
                yield f"{reveal.tx_hash} gave token {token_id} another URI than the chain has"
    for token_id in uris:
        if times[token_id] != 1:
            yield f"token {token_id} was revealed {times[token_id]} times"
    for token_id in times.keys() - uris.keys():
        yield f"token {token_id} was revealed but never minted"


def _rows(evidence: Evidence) -> Iterator[str]:
    transactions = {
        token_id: reveal.tx_hash for reveal in evidence.reveals for token_id in reveal.token_ids
    }
    if evidence.row_count != len(evidence.tokens):
        yield f"{evidence.row_count} rows for {len(evidence.tokens)} tokens"
    for token in evidence.tokens:
        if token.row is None:
            yield f"token {token.token_id} has no row"
            continue
        wanted = _row_of(token, transactions.get(token.token_id))
        for column, value in wanted.items():
            if token.row[column] != value:
                yield f"token {token.token_id}: {column} is {token.row[column]!r}, not {value!r}"


def _row_of(token: TokenEvidence, transaction: str | None) -> dict[str, Any]:
    """Return what the chain says a row must hold."""
    author = author_of(token.prompt_author)
    wanted = {
        "status": "revealed",
        "metadata_cid": _cid_of(token.uri),
        "image_cid": _cid_of(token.image_uri),
        "reveal_tx_hash": transaction,
        "prompt_author_wallet": token.prompt_author,
        "minter_address": token.owner,
    }
    return wanted | {"prompt": author.prompt} if author else wanted


def _predictions(evidence: Evidence) -> Iterator[str]:
    charges = Counter(evidence.jobs.get(prediction) for prediction in evidence.predictions)
    if unknown := charges.pop(None, 0):
        yield f"{unknown} predictions were paid for that no token knows of"
    for token in evidence.tokens:
        if charges[token.token_id] != 1:
            yield f"token {token.token_id} cost {charges[token.token_id]} predictions"


def _cid_of(uri: str) -> str:
    """Return the CID of an ipfs:// URI, or an empty text if it is none."""
    match = _IPFS_URI.fullmatch(uri)
    return match[1] if match and is_cid(match[1]) else ""


def _hashes_to(content: bytes, uri: str) -> bool:
    return cid_matches(content, _cid_of(uri))


def _is_picture(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return min(picture.size) >= _SMALLEST_SIDE
    except (UnidentifiedImageError, OSError):
        return False
