"""A poll is never answered from before: what another connection committed is in the next answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from authors.tests.factories import AuthorFactory, wallet
from tokens.models import Token
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db(transaction=True)
BUYER = wallet(0xB0B)


class Poll:
    """What the frontend's poll sees; it has the browser send the tag of the answer before."""

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._url = client, f"/api/authors/{address}/tokens?limit=100"
        self._tag = ""
        self._body: dict[str, Any] = {}

    def __call__(self) -> dict[int, dict[str, Any]]:
        answer = self._client.get(self._url, headers={"If-None-Match": self._tag})
        assert answer["Cache-Control"] == "no-cache"
        if answer.status_code != 304:
            self._tag, self._body = answer["ETag"], answer.json()
        return {token["token_id"]: token for token in self._body["tokens"]}


def elsewhere(change: Callable[[], object]) -> None:
    """Make a change as another process does, on a connection of its own."""

    def make() -> None:
        try:
            change()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(make).result()


@pytest.mark.parametrize("who", ["author", "buyer"])
def test_each_step_of_a_token_is_in_the_next_poll(client: Client, who: str) -> None:
    token = TokenFactory.create(minter_address=BUYER)
    polls = Poll(client, BUYER if who == "buyer" else token.prompt_author_wallet)
    assert polls()[token.pk]["status"] == "detected"

    def step(status: str, change: Callable[[Token], object], **shown: Any) -> None:
        elsewhere(lambda: change(Token.objects.get(pk=token.pk)))
        found = polls()[token.pk]
        assert found["status"] == status
        assert {name: found[name] for name in shown} == shown

    step("generating", lambda t: t.mark_generating())
    step("uploading", lambda t: t.mark_uploading(image_cid="img"), image_cid="img")
    step("ready", lambda t: t.mark_ready(metadata_cid="meta"), metadata_cid="meta")
    tx_hash = "0x" + "ab" * 32
    step("revealed", lambda t: t.mark_revealed(tx_hash=tx_hash), reveal_tx_hash=tx_hash)


def test_tokens_that_come_go_and_change_hands_are_in_the_next_poll(client: Client) -> None:
    here, there = AuthorFactory.create(), AuthorFactory.create()
    first = TokenFactory.create(token_id=1, author=here)
    mine, theirs = Poll(client, here.wallet_address), Poll(client, there.wallet_address)
    assert (set(mine()), set(theirs())) == ({1}, set())
    elsewhere(lambda: TokenFactory.create(token_id=2, author=here, mint_event=None))
    assert set(mine()) == {1, 2}
    # as a reorg does: another author, then nobody (tokens/recovery/withdrawal.py)
    moved = Token.objects.filter(pk=first.pk)
    elsewhere(lambda: moved.update(author=there, prompt_author_wallet=there.wallet_address))
    assert (set(mine()), set(theirs())) == ({2}, {1})
    elsewhere(moved.delete)
    assert (set(mine()), set(theirs())) == ({2}, set())


def test_what_is_not_shown_is_no_news(client: Client) -> None:
    token = TokenFactory.create()
    url = f"/api/authors/{token.prompt_author_wallet}/tokens?limit=100"
    tag = client.get(url)["ETag"]
    held = Token.objects.filter(pk=token.pk)
    elsewhere(lambda: held.update(held_at=timezone.now(), hold_reason="an operator's text"))
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
