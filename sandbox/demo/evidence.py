"""What is true of every token (on chain, at the gateway, on the bill, in the database), judged.

Nothing here uses the pipeline under test: the chain is read by web3, the gateway by requests, the
database by plain SQL. Each check names what it looked at and every fault that it found.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg
import requests
from PIL import Image, UnidentifiedImageError
from psycopg.rows import dict_row
from requests.adapters import HTTPAdapter

from glisk.cid import cid_matches, is_cid
from sandbox.chain import Mint, Reveal
from sandbox.demo.people import author_of
from sandbox.world import World

_READERS = 8
_TIMEOUT_SECONDS = 20

_ROWS = """
    SELECT token_id, status, image_cid, metadata_cid, reveal_tx_hash, prompt,
           prompt_author_wallet, minter_address
    FROM tokens_s0
"""
_JOBS = "SELECT token_id, external_id FROM image_generation_jobs WHERE external_id IS NOT NULL"


@dataclass(frozen=True)
class TokenEvidence:
    """One token as the chain, the gateway and the database have it."""

    token_id: int
    uri: str
    revealed: bool
    owner: str
    prompt_author: str
    metadata: bytes | None = None
    image_uri: str = ""
    image: bytes | None = None
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks judge."""

    tokens: list[TokenEvidence]
    mints: list[Mint]
    reveals: list[Reveal]
    keeper: str
    row_count: int
    predictions: list[str] = field(default_factory=list)  # prediction ids on the vendor's bill
    jobs: dict[str, int] = field(default_factory=dict)  # prediction id: token id, by our database


def collect(world: World, keeper: str) -> Evidence:
    """Read everything about every token that was ever minted in this world."""
    chain = world.chain
    rows, jobs = _database(world)
    with requests.Session() as session, ThreadPoolExecutor(_READERS) as pool:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=_READERS))

        def token(token_id: int) -> TokenEvidence:
            uri = chain.token_uri(token_id)
            metadata = _from_gateway(world, session, uri)
            image_uri = _image_uri(metadata)
            return TokenEvidence(
                token_id=token_id,
                uri=uri,
                revealed=chain.is_revealed(token_id),
                owner=chain.owner_of(token_id),
                prompt_author=chain.token_prompt_author(token_id),
                metadata=metadata,
                image_uri=image_uri,
                image=_from_gateway(world, session, image_uri),
                row=rows.get(token_id),
            )

        tokens = list(pool.map(token, range(1, chain.next_token_id())))
    bill = world.control("replicate", "bill")
    return Evidence(
        tokens=tokens,
        mints=chain.mints(),
        reveals=chain.reveal_transactions(),
        keeper=keeper,
        row_count=len(rows),
        predictions=[entry["subject"] for entry in bill["entries"]],
        jobs=jobs,
    )


def _from_gateway(world: World, session: requests.Session, uri: str) -> bytes | None:
    """Return the bytes of an `ipfs://` URI, or None if there is nothing to be had for it."""
    if not uri.startswith("ipfs://"):
        return None
    url = f"{world.ports.url('gateway')}/ipfs/{uri.removeprefix('ipfs://')}"
    try:
        response = session.get(url, timeout=_TIMEOUT_SECONDS)
    except requests.RequestException:
        return None
    return response.content if response.status_code == 200 else None


def _image_uri(metadata: bytes | None) -> str:
    try:
        document = json.loads(metadata or b"")
    except ValueError:
        return ""
    image = document.get("image") if isinstance(document, dict) else None
    return image if isinstance(image, str) else ""


def _database(world: World) -> tuple[dict[int, dict[str, Any]], dict[str, int]]:
    with psycopg.connect(world.database_url(), autocommit=True) as connection:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = {row["token_id"]: row for row in cursor.execute(_ROWS)}
        jobs = {
            external_id: token_id for token_id, external_id in connection.execute(_JOBS).fetchall()
        }
    return rows, jobs


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
