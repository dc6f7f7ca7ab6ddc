"""The token endpoints answer as the frontend expects."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError
from django.test import Client
from django.utils import timezone
from rest_framework.renderers import JSONRenderer

from authors.tests.factories import AuthorFactory, wallet
from tokens.api import reads
from tokens.api.serializers import TokenSerializer
from tokens.models.token import TokenQuerySet
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db
LISTED = {
    "token_id",
    "status",
    "image_cid",
    "metadata_cid",
    "image_url",
    "generation_attempts",
    "generation_error",
    "reveal_tx_hash",
    "created_at",
}


def page(client: Client, address: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"/api/authors/{address}/tokens", query)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def test_lists_the_tokens_of_a_wallet_on_chain_newest_first(client: Client) -> None:
    address = wallet(0xBEEF)  # registered or not
    for token_id in (1, 3, 20, 50, 100):
        TokenFactory.create(token_id=token_id, prompt_author_wallet=address)
    TokenFactory.create(token_id=60)
    body = page(client, address.lower())
    assert set(body) == {"tokens", "total", "offset", "limit"}
    assert all(set(token) == LISTED for token in body["tokens"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", body["tokens"][0]["created_at"])
    for offset, limit, ids in (
        (0, 20, [100, 50, 20, 3, 1]), (0, 2, [100, 50]), (2, 2, [20, 3]), (5, 2, []),
        (2**63 - 1, 100, []),
    ):  # fmt: skip
        body = page(client, address, offset=offset, limit=limit)
        assert [token["token_id"] for token in body["tokens"]] == ids
        assert (body["total"], body["offset"], body["limit"]) == (5, offset, limit)
    for text in (wallet(1), "nonsense", "%00", "leaderboard"):
        assert page(client, text) == {"tokens": [], "total": 0, "offset": 0, "limit": 20}


def test_a_bad_query_is_refused_in_words(client: Client) -> None:
    pages, lists = f"/api/authors/{wallet(1)}/tokens", "/api/tokens"
    for url, name, value in (
        (pages, "limit", "0"),
        (pages, "limit", "101"),
        (pages, "offset", "-1"),
        (pages, "limit", "ten"),
        (pages, "offset", "1.5"),
        (pages, "limit", ""),
        (pages, "offset", str(10**30)),
        (lists, "minter", "me"),
        (lists, "author", "0x1"),
        (lists, "status", "new"),
        (lists, "before", "0"),
        (lists, "limit", "101"),
    ):
        answer = client.get(url, {name: value})
        assert answer.status_code == 422, (url, name, value)
        assert answer.json()["detail"].startswith(f"{name}: ")


def test_a_page_needs_a_query_and_many_tokens_need_another_one_for_the_total(
    client: Client, django_assert_num_queries: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "FEW", 5)
    for size, queries in ((0, 1), (5, 1), (6, 2)):
        author = AuthorFactory.create()
        TokenFactory.create_batch(size, author=author)
        with django_assert_num_queries(queries):
            assert page(client, author.wallet_address, limit=3)["total"] == size
    with django_assert_num_queries(1):  # what was counted is known for a moment
        assert page(client, author.wallet_address)["total"] == 6


def test_a_buyers_page_has_what_they_minted_from_others(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    me = AuthorFactory.create()
    wallet_of_mine = me.wallet_address
    TokenFactory.create(token_id=1, author=me)
    TokenFactory.create(token_id=2, minter_address=wallet_of_mine)
    long_ago = timezone.now() - timedelta(hours=1)
    TokenFactory.create(token_id=3, minter_address=wallet_of_mine, mint_timestamp=long_ago)
    TokenFactory.create(token_id=4, author=me, minter_address=wallet_of_mine)
    with django_assert_num_queries(1):
        polled = page(client, wallet_of_mine, limit=100)
    assert [token["token_id"] for token in polled["tokens"]] == [4, 2, 1]
    assert polled["total"] == 2  # as on the author's page
    assert [token["token_id"] for token in page(client, wallet_of_mine)["tokens"]] == [4, 1]


def test_a_buyers_tokens_are_not_crowded_out_by_newer_ones(client: Client) -> None:
    me = AuthorFactory.create()
    TokenFactory.create(token_id=1, minter_address=me.wallet_address)
    for token_id in range(2, 104):
        TokenFactory.create(token_id=token_id, author=me, mint_event=None)
    listed = [token["token_id"] for token in page(client, me.wallet_address, limit=100)["tokens"]]
    assert listed == [*range(103, 4, -1), 1]


def test_an_unchanged_page_is_not_sent_again(client: Client) -> None:
    token = TokenFactory.create()
    url = f"/api/authors/{token.prompt_author_wallet}/tokens"
    first = client.get(url)
    assert first["Cache-Control"] == "no-cache"
    again = client.get(url, headers={"If-None-Match": f"W/{first['ETag']}"})
    assert (again.status_code, again.content) == (304, b"")
    token.mark_generating()
    assert client.get(url, headers={"If-None-Match": first["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"generation_error": "breaker:replicate: 402, buy credit"},
        {"status": TokenStatus.REVEALED},
        {"status": TokenStatus.REVEALED, "adopted_uri": "", "metadata_cid": None},
        {"image_url": "https://x/\"'\\ü\t\x7f😀%s\u2028"},
        *(
            {"status": TokenStatus.FAILED, "error_class": name, "generation_error": "internal"}
            for name in ("", "content_policy", "validation", "new")
        ),
    ],
)
def test_the_database_writes_what_the_schema_says_and_nothing_for_operators(
    client: Client, fields: dict[str, Any]
) -> None:
    token = TokenFactory.create(**fields)
    form = json.loads(JSONRenderer().render(TokenSerializer(token).data))
    alone = client.get(f"/api/tokens/{token.pk}").json()
    assert {name: alone[name] for name in LISTED} == form
    for url in (
        f"/api/authors/{token.prompt_author_wallet}/tokens",
        f"/api/authors/{token.minter_address}/tokens?limit=100",
    ):
        assert client.get(url).json()["tokens"] == [form]
    words = {
        "content_policy": "The image model refused the prompt.",
        "validation": "The author's prompt cannot be used.",
    }
    other = "Something went wrong; the operators have been told."
    failed = token.status == TokenStatus.FAILED
    assert form["generation_error"] == (words.get(token.error_class, other) if failed else None)


def test_lists_tokens_by_minter_author_and_state(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    author, minter = AuthorFactory.create(), wallet(0xBEEF)
    TokenFactory.create(token_id=1, author=author, minter_address=minter)
    TokenFactory.create(token_id=2, author=author, status=TokenStatus.FAILED)
    TokenFactory.create(token_id=3, minter_address=minter, status=TokenStatus.REVEALED)

    def ids(**query: Any) -> list[int]:
        with django_assert_num_queries(1):
            return [
                token["token_id"] for token in client.get("/api/tokens", query).json()["tokens"]
            ]

    assert ids() == [3, 2, 1]
    assert ids(minter=minter.lower()) == [3, 1]
    assert ids(author=author.wallet_address) == [2, 1]
    assert ids(author=author.wallet_address, status="failed") == [2]
    assert ids(status="revealed", minter=minter, author=wallet(1)) == []
    assert ids(before=3, limit=1) == [2]


def test_pages_follow_by_token_id(client: Client) -> None:
    for token_id in range(1, 6):
        TokenFactory.create(token_id=token_id)
    first = client.get("/api/tokens", {"limit": 2}).json()
    assert first["next_before"] == 4
    TokenFactory.create(token_id=6)  # a new mint does not shift the pages
    second = client.get("/api/tokens", {"limit": 2, "before": 4}).json()
    assert [token["token_id"] for token in second["tokens"]] == [3, 2]
    last = client.get("/api/tokens", {"limit": 2, "before": second["next_before"]}).json()
    assert ([token["token_id"] for token in last["tokens"]], last["next_before"]) == ([1], None)


def test_the_leaderboard_has_fifty_places_by_number_and_address(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    tokens = TokenFactory.create_batch(55, mint_event=None)
    addresses = sorted(token.prompt_author_wallet for token in tokens)
    TokenFactory.create_batch(2, prompt_author_wallet=addresses[54])
    with django_assert_num_queries(1):
        first, *others = client.get("/api/authors/leaderboard").json()
    assert first == {"author_address": addresses[54], "total_tokens": 3}
    assert [entry["author_address"] for entry in others] == addresses[:49]


def test_one_token_with_author_and_uri(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    token = TokenFactory.create(status=TokenStatus.REVEALED)
    with django_assert_num_queries(1):
        body = client.get(f"/api/tokens/{token.pk}").json()
    assert (body["token_id"], body["name"]) == (token.pk, token.name)
    assert body["author_address"] == token.prompt_author_wallet
    assert body["minter_address"] == token.minter_address
    assert body["token_uri"] == f"ipfs://{token.metadata_cid}"
    assert body["revealed_at"].endswith("Z")


def test_an_unknown_token_is_not_found_in_words(client: Client) -> None:
    for token_id in (1, 10**30):
        answer = client.get(f"/api/tokens/{token_id}")
        assert answer.status_code == 404
        assert answer.json() == {"detail": "No Token matches the given query."}


def test_a_database_that_is_away_is_a_reason_to_come_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As glisk/tests/test_openapi.py has it of every read, by the other kind of its errors."""

    def fail(self: object) -> None:
        raise InterfaceError("host=secret.example")

    monkeypatch.setattr(TokenQuerySet, "_fetch_all", fail)
    for url in ("/api/tokens/1", "/api/tokens"):
        answer = client.get(url)
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert answer.json() == {"detail": "The database does not answer; try again in a moment."}
    answer = client.get("/api/authors/leaderboard")
    assert (answer.status_code, answer.json()) == (503, [])
