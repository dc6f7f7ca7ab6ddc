"""Collect what is true of every token: on chain, at the gateway, on the bill, in the database.

Nothing here uses the code under test: the chain is read by web3, the gateway by requests, the
database by plain SQL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import requests
from psycopg.rows import dict_row
from requests.adapters import HTTPAdapter

from sandbox.chain import DemoChain, Mint, Reveal
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
    with _gateway(world.ports.url("gateway")) as gateway, ThreadPoolExecutor(_READERS) as pool:
        tokens = list(
            pool.map(
                lambda token_id: _token(chain, gateway, token_id, rows.get(token_id)),
                range(1, chain.next_token_id()),
            )
        )
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


class Gateway:
    """Read `ipfs://` URIs at the gateway."""

    def __init__(self, base_url: str, session: requests.Session) -> None:
        self._base_url, self._session = base_url, session

    def read(self, uri: str) -> bytes | None:
        """Return the bytes, or None if there is nothing to be had for this URI."""
        if not uri.startswith("ipfs://"):
            return None
        url = f"{self._base_url}/ipfs/{uri.removeprefix('ipfs://')}"
        try:
            response = self._session.get(url, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException:
            return None
        return response.content if response.status_code == 200 else None


@contextmanager
def _gateway(base_url: str) -> Iterator[Gateway]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=_READERS))
        yield Gateway(base_url, session)


def _token(
    chain: DemoChain, gateway: Gateway, token_id: int, row: dict[str, Any] | None
) -> TokenEvidence:
    uri = chain.token_uri(token_id)
    metadata = gateway.read(uri)
    image_uri = _image_uri(metadata)
    return TokenEvidence(
        token_id=token_id,
        uri=uri,
        revealed=chain.is_revealed(token_id),
        owner=chain.owner_of(token_id),
        prompt_author=chain.token_prompt_author(token_id),
        metadata=metadata,
        image_uri=image_uri,
        image=gateway.read(image_uri),
        row=row,
    )


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
