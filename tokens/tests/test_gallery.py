"""The gallery shows what is revealed and what is on its way, and asks nobody but the gateway."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.staticfiles import finders
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.api.short_memory import forget_all
from tokens.api import gallery as gallery_module
from tokens.api.gallery import REVEALS_SHOWN
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db
UPDATES = "/gallery/updates"


@pytest.fixture(autouse=True)
def gateway(settings: Settings) -> str:
    settings.PINATA_GATEWAY = ["pictures.example"]
    settings.EXPLORER_URL = "https://explorer.example"
    return "https://pictures.example"


def test_shows_reveals_with_picture_metadata_and_explorer(client: Client, gateway: str) -> None:
    token = TokenFactory.create(status=TokenStatus.REVEALED)
    text = client.get("/").content.decode()
    assert "<title>GLISK</title>" in text
    assert f'src="{gateway}/ipfs/{token.image_cid}"' in text
    assert f'href="{gateway}/ipfs/{token.metadata_cid}"' in text
    assert f"https://explorer.example/tx/{token.reveal_tx_hash}" in text
    assert re.search(rf'href="/api/tokens/{token.pk}/provenance"[^>]*>Verify</a>', text)


def test_what_has_no_provenance_has_no_link_to_it(client: Client) -> None:
    TokenFactory.create(status=TokenStatus.REVEALED, mint_event=None)
    assert "Verify" not in client.get("/").content.decode()
    assert client.get(UPDATES).json()["revealed"][0]["provenance_url"] == ""


def test_says_so_when_nothing_is_revealed(client: Client) -> None:
    text = client.get("/").content.decode()
    assert re.search(r'<p id="empty" class="empty">\s*Nothing has been revealed yet', text)
    assert '<section id="way" class="way" hidden' in text


def test_shows_tokens_on_their_way_and_new_failures(client: Client) -> None:
    for token_id, status in enumerate(TokenStatus, start=1):
        TokenFactory.create(token_id=token_id, status=status)
    long_ago = timezone.now() - timedelta(days=2)
    TokenFactory.create(token_id=99, status=TokenStatus.FAILED, mint_timestamp=long_ago)
    listed = client.get(UPDATES).json()["under_way"]
    assert {token["status"] for token in listed} == set(TokenStatus) - {TokenStatus.REVEALED}
    assert 99 not in {token["token_id"] for token in listed}


def test_an_unchanged_state_is_not_sent_again(client: Client) -> None:
    token = TokenFactory.create()
    first = client.get(UPDATES)
    again = client.get(UPDATES, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    token.mark_generating()
    forget_all()
    changed = client.get(UPDATES, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["under_way"][0]["status"] == "generating"


def test_older_pages_follow_by_token_id(client: Client) -> None:
    for token_id in range(1, REVEALS_SHOWN + 4):
        TokenFactory.create(token_id=token_id, status=TokenStatus.REVEALED, mint_event=None)
    first = client.get("/")
    assert [card["token_id"] for card in first.context["revealed"]][-1] == 4
    assert client.get(UPDATES).json()["older_url"] == first.context["older_url"] == "/?before=4"
    second = client.get(first.context["older_url"])
    assert [card["token_id"] for card in second.context["revealed"]] == [3, 2, 1]
    assert second.context["older_url"] == ""


def test_a_senseless_page_is_no_error(client: Client) -> None:
    TokenFactory.create(status=TokenStatus.REVEALED)
    for before in ("", "x", "-1", "9" * 40, "9" * 9000, "٣", "0"):
        assert client.get("/", {"before": before}).status_code == 200


def test_many_look_by_three_queries(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    for status in (TokenStatus.REVEALED, TokenStatus.GENERATING):
        TokenFactory.create_batch(3, status=status, mint_event=None)
    for url in ("/", UPDATES):
        forget_all()
        with django_assert_num_queries(3):
            client.get(url)
    with django_assert_num_queries(0):  # many look at once
        client.get(UPDATES)


def test_asks_nobody_but_us_and_the_gateway(client: Client, gateway: str) -> None:
    TokenFactory.create(status=TokenStatus.REVEALED)
    answer = client.get("/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"img-src 'self' {gateway};" in policy
    assert "unsafe" not in policy
    text = answer.content.decode()
    loaded = re.findall(r'<(?:script|img|link)[^>]+?(?:src|href)="([^"]+)"', text)
    assert len(loaded) >= 4
    for url in loaded:
        assert urlsplit(url).netloc in ("", "pictures.example"), url
        if not urlsplit(url).netloc:
            assert finders.find(url.removeprefix("/static/")), url
    assert "<script>" not in text
    assert "style=" not in text


def test_a_token_that_others_revealed_has_no_dead_links(client: Client, gateway: str) -> None:
    TokenFactory.create(
        status=TokenStatus.REVEALED, adopted_uri="", image_cid=None, metadata_cid=None
    )
    text = client.get("/").content.decode()
    assert "its picture is not known here" in text
    assert 'src=""' not in text
    assert re.findall(r'<a [^>]*href=""[^>]*>', text) == [
        '<a id="older" href="" rel="next" hidden>'
    ]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_a_database_it_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*args: object) -> None:
        raise error("secret")

    monkeypatch.setattr(gallery_module, "gallery_state", fail)
    page = client.get("/")
    assert page.status_code == 503
    text = page.content.decode()
    assert "The tokens cannot be read at the moment." in text
    assert '<p id="empty" class="empty" hidden>' in text
    assert "Live<" not in text
    updates = client.get(UPDATES)
    assert updates.status_code == 503
    assert updates.json() == {"detail": "The tokens cannot be read at the moment."}
    assert b"secret" not in page.content + updates.content


def test_a_gateway_token_is_never_shown(client: Client, settings: Settings) -> None:
    settings.PINATA_GATEWAY_TOKEN = "gateway-secret"
    TokenFactory.create(status=TokenStatus.REVEALED)
    for url in ("/", UPDATES):
        assert b"gateway-secret" not in client.get(url).content
        assert client.post(url).status_code == 405


def test_an_author_is_named_by_their_handle_if_they_linked_one(client: Client) -> None:
    default = AuthorFactory.create()
    named = AuthorFactory.create(twitter_handle="painter", farcaster_handle="brush")
    cast = AuthorFactory.create(twitter_handle=None, farcaster_handle="brush2")
    plain = AuthorFactory.create(twitter_handle=None, farcaster_handle=None)
    # The token of an author who registered later still belongs to the default author.
    for author, wallet in ((default, named.wallet_address), (cast, None), (plain, None)):
        chain = {"prompt_author_wallet": wallet} if wallet else {}
        TokenFactory.create(status=TokenStatus.REVEALED, author=author, **chain)
    shown = [card["author"] for card in client.get(UPDATES).json()["revealed"]]
    wallet = plain.wallet_address
    assert shown == [f"{wallet[:6]}…{wallet[-4:]}", "@brush2", "@painter"]
    text = client.get("/").content.decode()
    assert f'title="{named.wallet_address}">@painter<' in text
