"""The public author endpoint answers as the frontend expects."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from authors.tests.factories import AuthorFactory, wallet

pytestmark = pytest.mark.django_db
UNKNOWN = {"has_prompt": False, "twitter_handle": None, "farcaster_handle": None}


def test_finds_an_author_in_any_letter_case_by_one_query(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    author = AuthorFactory.create(twitter_handle="glisk", farcaster_handle="glisk.eth")
    shown = {"has_prompt": True, "twitter_handle": "glisk", "farcaster_handle": "glisk.eth"}
    address = author.wallet_address
    for spelt in (address, address.lower(), address.upper(), "0x" + address[2:].upper()):
        with django_assert_num_queries(1):
            answer = client.get(f"/api/authors/{spelt}")
        assert (answer.status_code, answer.json()) == (200, shown)


def test_answers_empty_for_unknown_and_invalid_wallets(client: Client) -> None:
    for text in (wallet(1), "nonsense", "0x12", "%00", "☂", "0x" + "g" * 40):
        answer = client.get(f"/api/authors/{text}")
        assert (answer.status_code, answer.json()) == (200, UNKNOWN)


def test_no_cache_shows_the_state_from_before_a_change(client: Client) -> None:
    author = AuthorFactory.create(prompt_text="  \n")
    url = f"/api/authors/{author.wallet_address}"
    before = client.get(url)
    assert before.json()["has_prompt"] is False
    assert before["Cache-Control"] == "no-cache"
    unchanged = client.get(url, headers={"If-None-Match": before["ETag"]})
    assert unchanged.status_code == 304
    author.prompt_text = "An owl"
    author.save()
    assert client.get(url, headers={"If-None-Match": before["ETag"]}).json()["has_prompt"] is True
