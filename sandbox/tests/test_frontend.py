"""The existing frontend works unchanged: its calls in their order, against everything running.

Load an author's page, set a prompt, mint as a collector, look at the boxes, poll with the
collector's own wallet until all tokens are revealed, look at the pictures, load more pages: the
calls, bodies and readings are those of the frontend, and a deviation from what it relies on ends
the replay.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from eth_account import Account
from eth_account.messages import encode_defunct

from sandbox.accounts import AUTHORS, COLLECTORS, DevAccount
from sandbox.chain import DemoChain
from sandbox.ports import Ports
from sandbox.world import World, WorldOptions

STATUSES = ("detected", "generating", "uploading", "ready", "revealed", "failed")
TOKEN_FIELDS = {
    "token_id", "status", "image_cid", "metadata_cid", "image_url", "generation_attempts",
    "generation_error", "reveal_tx_hash", "created_at",
}  # fmt: skip
# The frontend reads the CID of an image by this (frontend-contract: only bare CIDs).
_CID_IN_URI = re.compile(r"^ipfs://([a-zA-Z0-9]+)$")
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Deviation(AssertionError):
    """An answer is not what the frontend relies on."""


@dataclass
class Replay:
    """One visit; times are in seconds."""

    backend: str
    gateway: str
    chain: DemoChain
    author: DevAccount = AUTHORS[1]
    collector: DevAccount = COLLECTORS[1]
    quantity: int = 3
    poll_seconds: float = 2.0
    give_up_seconds: float = 300.0
    session: requests.Session = field(default_factory=requests.Session)

    def run(self) -> None:
        """Do the whole visit. Raises `Deviation`, or `requests.RequestException`."""
        self.load_author_page()
        self.set_prompt("A lighthouse at dusk, painted on slate")
        token_ids = self.mint()
        self.look_at_boxes(token_ids)
        self.poll_until_revealed(token_ids)
        self.look_at_pictures(token_ids)
        self.load_more()

    def load_author_page(self) -> None:
        """Load the leaderboard, the author's facts and the first page of their tokens."""
        board = self._get("/api/authors/leaderboard")
        _check(isinstance(board, list) and len(board) <= 50, "the leaderboard", board)
        _check(
            all(set(entry) == {"author_address", "total_tokens"} for entry in board),
            "an entry of the leaderboard", board,
        )  # fmt: skip
        author = self._get(f"/api/authors/{self.author.address}")
        _check(
            set(author) == {"has_prompt", "twitter_handle", "farcaster_handle"}, "an author", author
        )
        self._page(limit=20, offset=0)

    def set_prompt(self, text: str) -> None:
        """Set the author's prompt with the fixed message, signed as a wallet signs it."""
        message = f"Update GLISK prompt for wallet: {self.author.address}"
        body = {
            "wallet_address": self.author.address,
            "prompt_text": text,
            "message": message,
            "signature": _sign(self.author, message),
        }
        answer = self._call("POST", "/api/authors/prompt", json=body)
        _check(answer == {"success": True, "has_prompt": True}, "the answer to a prompt", answer)
        refused = self._call(
            "POST",
            "/api/authors/prompt",
            status=400,
            json={**body, "signature": _sign(self.collector, message)},
        )
        _check(
            refused.get("detail", "").startswith("Signature verification failed."),
            "the refusal of another wallet's signature", refused,
        )  # fmt: skip

    def mint(self) -> list[int]:
        """Mint as the collector; return the ids, read from the receipt as the frontend does."""
        tx_hash = self.chain.mint(
            COLLECTORS.index(self.collector) + 1, self.author.address, self.quantity
        )
        block = int(self.chain.wait(tx_hash)["blockNumber"])
        mine = [mint for mint in self.chain.mints(from_block=block) if mint.tx_hash == tx_hash]
        token_ids = [
            token_id
            for mint in mine
            for token_id in range(mint.start_token_id, mint.start_token_id + mint.quantity)
        ]
        _check(len(token_ids) == self.quantity, "the receipt", token_ids)
        return token_ids

    def look_at_boxes(self, token_ids: list[int]) -> None:
        """Show each new token by the URI that the contract gives it, be it revealed or not."""
        for token_id in token_ids:
            self._shown(self.chain.token_uri(token_id))

    def poll_until_revealed(self, token_ids: list[int]) -> None:
        """Ask every two seconds, with the collector's own wallet, until all are revealed."""
        deadline = time.monotonic() + self.give_up_seconds
        shown: dict[int, str] = {}
        path = f"/api/authors/{self.collector.address}/tokens?limit=100"
        while not all(shown.get(token_id) == "revealed" for token_id in token_ids):
            if time.monotonic() > deadline:
                raise Deviation(f"not revealed within {self.give_up_seconds:.0f} s: {shown}")
            page = self._get(path)
            _check_page(page, limit=100, offset=0)
            before, shown = shown, {token["token_id"]: token["status"] for token in page["tokens"]}
            for token_id in token_ids:
                order = [
                    STATUSES.index(states.get(token_id, "detected")) for states in (before, shown)
                ]
                _check(order[0] <= order[1], f"token {token_id} went back", [before, shown])
            time.sleep(self.poll_seconds)

    def look_at_pictures(self, token_ids: list[int]) -> None:
        """Read metadata and image by the gateway, as the browser does."""
        page = self._get(f"/api/authors/{self.collector.address}/tokens?limit=100")
        by_id = {token["token_id"]: token for token in page["tokens"]}
        for token_id in token_ids:
            token = by_id[token_id]
            uri = self.chain.token_uri(token_id)
            _check(uri == f"ipfs://{token['metadata_cid']}", "the URI on chain", token)
            image_cid = self._shown(uri)
            _check(image_cid == token["image_cid"], "the image's URI in the metadata", image_cid)

    def _shown(self, token_uri: str) -> str:
        """Read metadata and image as the browser does; return the image's CID."""
        metadata = self._from_gateway(_cid_in(token_uri)).json()
        _check(isinstance(metadata.get("name"), str), "the name in the metadata", metadata)
        image_cid = _cid_in(metadata.get("image", ""))
        kind = self._from_gateway(image_cid).headers["Content-Type"]
        _check(kind.startswith("image/"), "the image's type", kind)
        return image_cid

    def load_more(self) -> None:
        """Page through the author's tokens; no token twice, none left out."""
        first = self._page(limit=2, offset=0)
        listed = [token["token_id"] for token in first["tokens"]]
        while len(listed) < first["total"]:
            page = self._page(limit=2, offset=len(listed))
            _check(bool(page["tokens"]), "a page before the end", page)
            listed += [token["token_id"] for token in page["tokens"]]
        _check(listed == sorted(set(listed), reverse=True), "the order of the tokens", listed)
        self._call("GET", f"/api/authors/{self.author.address}/tokens?limit=1000", status=422)
        nobody = self._get("/api/authors/nobody/tokens")
        _check(nobody["tokens"] == [] and nobody["total"] == 0, "the page of no wallet", nobody)

    def _page(self, *, limit: int, offset: int) -> dict[str, Any]:
        page: dict[str, Any] = self._get(
            f"/api/authors/{self.author.address.lower()}/tokens?offset={offset}&limit={limit}"
        )
        _check_page(page, limit=limit, offset=offset)
        return page

    def _get(self, path: str) -> Any:
        return self._call("GET", path)

    def _call(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        answer = self.session.request(method, self.backend + path, timeout=60, **options)
        _check(answer.status_code == status, f"the status of {method} {path}", answer.text)
        body = answer.json()
        if status >= 400:
            _check(isinstance(body["detail"], str), "detail, which is a text", body)
        return body

    def _from_gateway(self, cid: str) -> requests.Response:
        answer = self.session.get(f"{self.gateway}/ipfs/{cid}", timeout=60)
        _check(answer.status_code == 200, f"the gateway's answer for {cid}", answer.status_code)
        return answer


def _check_page(page: dict[str, Any], *, limit: int, offset: int) -> None:
    _check(set(page) == {"tokens", "total", "offset", "limit"}, "a page", page)
    _check((page["offset"], page["limit"]) == (offset, limit), "the page asked for", page)
    _check(len(page["tokens"]) <= limit, "the page's size", page)
    for token in page["tokens"]:
        _check(set(token) == TOKEN_FIELDS, "a token's fields", token)
        _check(token["status"] in STATUSES, "a token's status", token)
        _check(_UTC.fullmatch(token["created_at"]) is not None, "created_at", token)


def _cid_in(uri: str) -> str:
    found = _CID_IN_URI.match(uri)
    if found is None:
        raise Deviation(f"not as the frontend relies on: a URI without a bare CID: {uri}")
    return found.group(1)


def _check(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise Deviation(f"not as the frontend relies on: {what}: {found}")


def _sign(account: DevAccount, message: str) -> str:
    signed = Account.sign_message(encode_defunct(text=message), account.private_key)
    return "0x" + bytes(signed.signature).hex()


@pytest.mark.timeout(600)
def test_a_visit_of_the_frontend(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("world")
    ports = Ports.free()
    options = WorldOptions(
        block_time=1.0, generation_seconds="0.3", pin_seconds="0.1", image_size=64
    )
    with World(directory, ports=ports, options=options) as world:
        world.start()
        world.wait_for_workers()
        replay = Replay(
            ports.url("web"),
            ports.url("gateway"),
            world.chain,
            poll_seconds=0.5,
            give_up_seconds=180,
        )
        replay.run()
        replay.backend += "/nowhere"
        with pytest.raises(Deviation, match="the status of GET"):
            replay.load_author_page()
