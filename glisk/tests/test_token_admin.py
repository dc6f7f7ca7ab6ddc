"""The token list answers an operator's questions; the token page tells a token's story."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from authors.tests.factories import AuthorFactory, wallet
from glisk.breaker import Breaker
from glisk.errors import AccountError
from glisk.models import SystemState
from glisk.tests.pipeline_world import add_image, add_ready_token, png
from tokens.models import ImageGenerationJob, IPFSUploadRecord, Token, TokenImage
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/tokens/token/"


def found(client: Client, **query: str) -> set[int]:
    return {token.pk for token in client.get(LIST, query).context["cl"].result_list}


@pytest.mark.pages
def test_searches_by_number_wallet_hash_and_cid(admin_client: Client) -> None:
    token = TokenFactory.create(token_id=41, status=TokenStatus.REVEALED)
    TokenFactory.create(token_id=410, status=TokenStatus.REVEALED)
    terms = [
        "41",
        " #41 ",
        token.prompt_author_wallet.lower(),
        token.minter_address,
        str(token.reveal_tx_hash).upper().replace("0X", "0x"),
        str(token.image_cid),
        str(token.metadata_cid),
        f"ipfs://{token.metadata_cid}",
    ]
    for term in terms:
        assert found(admin_client, q=term) == {41}, term
    for term in ("4", "GLISK", wallet(1), str(token.image_cid)[:-1]):
        assert found(admin_client, q=term) == set(), term


@pytest.mark.pages
def test_filters_what_needs_attention(admin_client: Client) -> None:
    now = timezone.now()
    past = now - timedelta(minutes=1)
    TokenFactory.create(
        token_id=1, status=TokenStatus.GENERATING, lease_owner="gone", lease_expires_at=past
    )
    TokenFactory.create(token_id=2, status=TokenStatus.GENERATING, next_attempt_at=now)
    TokenFactory.create(token_id=3, status=TokenStatus.FAILED)
    TokenFactory.create(token_id=4, status=TokenStatus.UPLOADING)
    TokenFactory.create(token_id=5, status=TokenStatus.REVEALED)
    TokenFactory.create(token_id=6, status=TokenStatus.FAILED)
    TokenFactory.create(token_id=7, status=TokenStatus.UPLOADING)
    Token.objects.filter(pk__in=(5, 6, 7)).update(status_changed_at=now - timedelta(days=2))
    for choice, ids in {
        "stalled": {1},
        "stuck": {7},
        "retrying": {2},
        "failed_today": {3},
        "unpinned": {4, 7},
    }.items():
        assert found(admin_client, attention=choice) == ids, choice


def test_the_list_never_loads_bytes_or_long_texts(admin_client: Client) -> None:
    add_ready_token(1)
    with CaptureQueriesContext(connection) as captured:
        text = admin_client.get(LIST).content.decode()
    (listing,) = [query["sql"] for query in captured if '"token_images"."sha256"' in query["sql"]]
    assert '"token_images"."data",' not in listing
    assert "/thumbnail/?v=" in text


def page_of(token: Token) -> str:
    return reverse("admin:tokens_token_change", args=[token.pk])


def test_the_page_shows_picture_links_timeline_and_metadata(
    admin_client: Client, settings: Settings, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    settings.EXPLORER_URL = "https://explorer.example"
    settings.PINATA_GATEWAY = ["gateway.example"]
    token, _ = add_ready_token(1), add_ready_token(2)
    ImageGenerationJob.objects.update(cost_usd="0.003")
    Token.objects.update(mint_timestamp=datetime(2026, 11, 20, 16, 49, 24, tzinfo=UTC))
    for _ in range(3):
        token.transitions.create(from_status="ready", to_status="ready", actor="drain")
    admin_client.get(page_of(token))
    with django_assert_max_num_queries(13):
        page = admin_client.get(page_of(token))
    text = page.content.decode()
    for expected in (
        f"/admin/tokens/token/{token.pk}/picture/?v=",
        f"https://gateway.example/ipfs/{token.image_cid}",
        f"https://gateway.example/ipfs/{token.metadata_cid}",
        f"https://explorer.example/token/{settings.GLISK_NFT_CONTRACT_ADDRESS}?a={token.pk}",
        "&quot;name&quot;: &quot;GLISK S0 #1&quot;",
        "by drain",
        "2026-11-20 16:49:24 UTC",
        "0.003 USD",
    ):
        assert expected in text, expected
    entries = page.context["summary"]["timeline"] + page.context["summary"]["earlier"]
    assert [entry.at for entry in entries] == sorted((e.at for e in entries), reverse=True)
    facts = {entry.title: dict(entry.facts) for entry in entries}
    assert ">prediction1<" in facts["Image made"]["prediction"]
    assert f'value="{token.image_cid}"' in facts["Image pinned"]["CID"]
    transactions = [entry for entry in entries if entry.title == "Transaction broadcast"]
    assert [dict(entry.facts)["nonce"] for entry in transactions] == ["1", "1"]
    links = {link["label"]: link["url"] for link in page.context["summary"]["links"]}
    batches = admin_client.get(links["Reveal batches"]).context["cl"].result_list
    assert [batch.nonce for batch in batches] == [1]


def test_foreign_text_is_escaped(admin_client: Client) -> None:
    evil = "<script>alert(1)</script>"
    token = TokenFactory.create(
        status=TokenStatus.FAILED, generation_error=evil, prompt=evil, metadata_text=evil
    )
    for address in (LIST, page_of(token)):
        assert evil not in admin_client.get(address).content.decode()


def test_a_picture_is_shown_as_nothing_but_a_picture(admin_client: Client) -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    add_image(token)
    picture, thumbnail = (f"{LIST}{token.pk}/{kind}/" for kind in ("picture", "thumbnail"))
    answer = admin_client.get(picture)
    assert answer.content == png()
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    for word in ("private", "immutable", "max-age=31536000"):
        assert word in answer["Cache-Control"]
    small = admin_client.get(thumbnail)
    assert small["Content-Type"] == "image/webp"
    with Image.open(io.BytesIO(small.content)) as image:
        assert image.size == (96, 96)
    stranger, clerk = Client(), Client()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    for address in (picture, thumbnail):
        assert stranger.get(address).status_code == 302
        assert clerk.get(address).status_code == 403
    TokenImage.objects.update(mime_type="text/html", data=b"GIF89a and then nothing")
    assert admin_client.get(picture)["Content-Type"] == "application/octet-stream"
    assert admin_client.get(thumbnail).status_code == 404
    TokenImage.objects.update(data=None)  # purged
    assert admin_client.get(picture).status_code == 404
    assert f"ipfs/{token.image_cid}" in admin_client.get(page_of(token)).content.decode()
    assert admin_client.get(f"{LIST}999/picture/").status_code == 404


def test_the_list_filters_what_failed_by_class(admin_client: Client) -> None:
    for number, error_class in ((1, "artefact"), (2, "artefact"), (3, "")):
        TokenFactory.create(token_id=number, status=TokenStatus.FAILED, error_class=error_class)
    TokenFactory.create(token_id=4, status=TokenStatus.FAILED, error_class="artefact")
    Token.objects.filter(pk=4).update(status_changed_at=timezone.now() - timedelta(days=2))
    assert found(admin_client, failed="artefact") == {1, 2}
    assert found(admin_client, failed="none") == {3}
    page = admin_client.get(LIST).content.decode()
    assert "artefact (2)" in page
    assert "no class (1)" in page


def test_the_list_shows_what_waits_for_gas(admin_client: Client) -> None:
    waiting, held = (TokenFactory.create(status=TokenStatus.READY) for _ in range(2))
    add_ready_token(1)  # its reveal is under way
    TokenFactory.create(status=TokenStatus.UPLOADING)
    Token.objects.filter(pk=held.pk).update(held_at=timezone.now(), hold_reason="wait")
    assert found(admin_client, attention="gas") == set()
    keeper = SystemState.objects.create(state_key="keeper", state_value={"status": "empty"})
    assert found(admin_client, attention="gas") == {waiting.pk}
    keeper.state_value = {"status": "blocked", "gas_price_high_since": "2026-01-01T00:00:00+00:00"}
    keeper.save()
    assert found(admin_client, attention="gas") == {waiting.pk}
    keeper.state_value = {"status": "blocked", "reason": "no role"}
    keeper.save()
    assert found(admin_client, attention="gas") == set()


def test_the_list_says_what_a_token_waits_for_or_why_it_failed(admin_client: Client) -> None:
    default = AuthorFactory.create()
    TokenFactory.create(author=default, prompt_author_wallet=wallet(0xABC))
    words = "pinata: POST /pinning answered HTTP 403"
    for status, error_class in (
        (TokenStatus.UPLOADING, "vendor_down"),
        (TokenStatus.FAILED, "content_policy"),
    ):
        TokenFactory.create(status=status, error_class=error_class, generation_error=words)
    assert "Uploads paused" not in admin_client.get(LIST).content.decode()
    Breaker("pinata").failed(AccountError("HTTP 403", vendor="pinata", status=401))
    TokenFactory.create(status=TokenStatus.UPLOADING)  # it has not met it yet, and waits too
    text = admin_client.get(LIST).content.decode()
    assert "unregistered" in text
    assert text.count(">Uploads paused: Pinata refuses our key<") == 2
    assert f"content policy: {words}" in text


def test_nothing_leads_to_a_file_that_is_not_pinned_yet(
    admin_client: Client, settings: Settings
) -> None:
    settings.PINATA_GATEWAY = ["gateway.example"]
    token = TokenFactory.create(status=TokenStatus.UPLOADING)
    token.transitions.create(from_status="generating", to_status="uploading", actor="a:1 2:3:pin")
    refused = {
        "token": token,
        "upload_type": "image",
        "computed_cid": token.image_cid,
        "size_bytes": 10,
        "status": "failed",
        "error": "pinata: POST /pinning answered HTTP 403",
    }
    for attempt in (1, 2):
        IPFSUploadRecord.objects.create(**refused, attempt_number=attempt)
    page = admin_client.get(page_of(token))
    assert "gateway.example" not in page.content.decode()
    assert f'value="{token.image_cid}"' in page.content.decode()
    entry, move = page.context["summary"]["timeline"]
    assert (entry.title, entry.times, entry.text) == ("Upload refused", 2, refused["error"])
    assert (move.title, move.actor) == ("Uploading", "")  # the worker's name is folded away
    IPFSUploadRecord.objects.create(
        **refused | {"status": "succeeded", "returned_cid": token.image_cid, "error": ""},
        attempt_number=3,
    )
    pinned = admin_client.get(page_of(token)).content.decode()
    assert f"gateway.example/ipfs/{token.image_cid}" in pinned
