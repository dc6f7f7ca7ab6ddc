"""The existing frontend works unchanged: its calls in their order, against everything running.

Load an author's page, set a prompt, mint as a collector, look at the boxes, poll with the
collector's own wallet until all tokens are revealed, look at the pictures, load more pages: the
calls, bodies and readings are those of the frontend.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account

from authors.tests.wallets import sign
from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.ports import Ports
from sandbox.world import World, WorldOptions

AUTHOR, COLLECTOR = AUTHORS[1], COLLECTORS[1]
STATUSES = ("detected", "generating", "uploading", "ready", "revealed", "failed")
TOKEN_FIELDS = {
    "token_id", "status", "image_cid", "metadata_cid", "image_url", "generation_attempts",
    "generation_error", "reveal_tx_hash", "created_at",
}  # fmt: skip
# The frontend reads the CID of an image by this (frontend-contract: only bare CIDs).
_CID_IN_URI = re.compile(r"^ipfs://([a-zA-Z0-9]+)$")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Frontend:
    """One visit of the frontend."""

    def __init__(self, world: World) -> None:
        self.chain = world.chain
        self._backend, self._gateway = world.ports.url("web"), world.ports.url("gateway")

    def call(self, path: str, *, status: int = 200, body: Any = None) -> Any:
        method = "POST" if body else "GET"
        answer = requests.request(method, self._backend + path, json=body, timeout=60)
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert isinstance(answer.json()["detail"], str)
        return answer.json()

    def page(self, wallet: str, *, limit: int, offset: int = 0) -> Any:
        page = self.call(f"/api/authors/{wallet.lower()}/tokens?offset={offset}&limit={limit}")
        assert set(page) == {"tokens", "total", "offset", "limit"}
        assert (page["offset"], page["limit"]) == (offset, limit)
        assert len(page["tokens"]) <= limit
        for token in page["tokens"]:
            assert set(token) == TOKEN_FIELDS
            assert token["status"] in STATUSES
            assert _UTC.fullmatch(token["created_at"])
        return page

    def mint(self, quantity: int) -> list[int]:
        """Mint as the collector; return the ids, read from the receipt as the frontend does."""
        tx_hash = self.chain.mint(COLLECTORS.index(COLLECTOR) + 1, AUTHOR.address, quantity)
        block = int(self.chain.wait(tx_hash)["blockNumber"])
        (mint,) = (mint for mint in self.chain.mints(block) if mint.tx_hash == tx_hash)
        return list(range(mint.start_token_id, mint.start_token_id + mint.quantity))

    def poll_until_revealed(self, token_ids: list[int]) -> None:
        """Ask with the collector's own wallet until all are revealed; no token goes back."""
        deadline = time.monotonic() + 180
        shown = dict.fromkeys(token_ids, "detected")
        while set(shown.values()) != {"revealed"}:
            assert time.monotonic() < deadline, shown
            page = self.page(COLLECTOR.address, limit=100)
            now = {token["token_id"]: token["status"] for token in page["tokens"]}
            for token_id, before in shown.items():
                shown[token_id] = now.get(token_id, before)
                assert STATUSES.index(before) <= STATUSES.index(shown[token_id])
            time.sleep(0.5)

    def show(self, token_id: int) -> tuple[str, str]:
        """Read metadata and image as the browser does; return their CIDs."""
        metadata_cid = _cid_in(self.chain.token_uri(token_id))
        metadata = self._from_gateway(metadata_cid).json()
        assert isinstance(metadata["name"], str)
        image_cid = _cid_in(metadata["image"])
        assert self._from_gateway(image_cid).headers["Content-Type"].startswith("image/")
        return metadata_cid, image_cid

    def _from_gateway(self, cid: str) -> requests.Response:
        answer = requests.get(f"{self._gateway}/ipfs/{cid}", timeout=60)
        answer.raise_for_status()
        return answer


def _cid_in(uri: str) -> str:
    found = _CID_IN_URI.match(uri)
    assert found, f"a URI without a bare CID: {uri}"
    return found[1]


@pytest.fixture
def frontend(tmp_path_factory: pytest.TempPathFactory, anvil_binary: Path) -> Iterator[Frontend]:
    options = WorldOptions(
        block_time=1.0, generation_seconds="0.3", pin_seconds="0.1", image_size=64
    )
    with World(tmp_path_factory.mktemp("world"), ports=Ports.free(), options=options) as world:
        world.start()
        world.wait_for_workers()
        yield Frontend(world)


@pytest.mark.timeout(600)
def test_a_visit_of_the_frontend(frontend: Frontend) -> None:
    board = frontend.call("/api/authors/leaderboard")
    assert len(board) <= 50
    assert all(set(entry) == {"author_address", "total_tokens"} for entry in board)
    author = frontend.call(f"/api/authors/{AUTHOR.address}")
    assert set(author) == {"has_prompt", "twitter_handle", "farcaster_handle"}
    frontend.page(AUTHOR.address, limit=20)

    message = f"Update GLISK prompt for wallet: {AUTHOR.address}"
    body = {
        "wallet_address": AUTHOR.address,
        "prompt_text": "A lighthouse at dusk, painted on slate",
        "message": message,
    }
    signed = {**body, "signature": sign(Account.from_key(AUTHOR.private_key), message)}
    assert frontend.call("/api/authors/prompt", body=signed) == {
        "success": True, "has_prompt": True
    }  # fmt: skip
    forged = {**body, "signature": sign(Account.from_key(COLLECTOR.private_key), message)}
    refused = frontend.call("/api/authors/prompt", body=forged, status=400)
    assert refused["detail"].startswith("Signature verification failed.")

    token_ids = frontend.mint(3)
    for token_id in token_ids:
        frontend.show(token_id)  # a closed box, or its picture already
    frontend.poll_until_revealed(token_ids)
    tokens = {t["token_id"]: t for t in frontend.page(COLLECTOR.address, limit=100)["tokens"]}
    for token_id in token_ids:
        token = tokens[token_id]
        assert frontend.show(token_id) == (token["metadata_cid"], token["image_cid"])

    first, second = (frontend.page(AUTHOR.address, limit=2, offset=offset) for offset in (0, 2))
    listed = [token["token_id"] for token in first["tokens"] + second["tokens"]]
    assert (listed, first["total"]) == (sorted(token_ids, reverse=True), 3)
    frontend.call(f"/api/authors/{AUTHOR.address}/tokens?limit=1000", status=422)
    nobody = frontend.call("/api/authors/nobody/tokens")
    assert (nobody["tokens"], nobody["total"]) == ([], 0)
