"""The public author endpoint answers as the frontend expects."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from authors.tests.factories import AuthorFactory, wallet

pytestmark = pytest.mark.django_db
UNKNOWN = {"has_prompt": False, "twitter_handle": None, "farcaster_handle": None}


@pytest.mark.parametrize("spell", [str, str.lower, str.upper, lambda text: "0x" + text[2:].upper()])
def test_finds_an_author_in_any_letter_case(client: Client, spell: Callable[[str], str]) -> None:
    author = AuthorFactory.create(twitter_handle="glisk", farcaster_handle="glisk.eth")
    answer = client.get(f"/api/authors/{spell(author.wallet_address)}")
    assert answer.status_code == 200
    assert answer.json() == {
        "has_prompt": True,
        "twitter_handle": "glisk",
        "farcaster_handle": "glisk.eth",
    }


def test_answers_empty_for_unknown_and_invalid_wallets(client: Client) -> None:
    for text in (wallet(1), "nonsense", "0x12", "%00", "☂", "0x" + "g" * 40):
        answer = client.get(f"/api/authors/{text}")
        assert (answer.status_code, answer.json()) == (200, UNKNOWN)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_none(client: Client, prompt: str) -> None:
    author = AuthorFactory.create(prompt_text=prompt)
    assert client.get(f"/api/authors/{author.wallet_address}").json()["has_prompt"] is False


def test_needs_one_query(client: Client, django_assert_num_queries: Callable[..., Any]) -> None:
    author = AuthorFactory.create()
    with django_assert_num_queries(1):
        client.get(f"/api/authors/{author.wallet_address}")


def test_no_cache_shows_the_state_from_before_a_change(client: Client) -> None:
    author = AuthorFactory.create(prompt_text="")
    url = f"/api/authors/{author.wallet_address}"
    before = client.get(url)
    assert before["Cache-Control"] == "no-cache"
    unchanged = client.get(url, headers={"If-None-Match": before["ETag"]})
    assert unchanged.status_code == 304
    author.prompt_text = "An owl"
    author.save()
    assert client.get(url, headers={"If-None-Match": before["ETag"]}).json()["has_prompt"] is True
