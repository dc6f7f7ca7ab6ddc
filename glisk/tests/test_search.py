"""The header's search finds by what a text is, by an index, and only what somebody may see."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authors.tests.factories import AuthorFactory
from glisk.console.search import find
from glisk.tests.admin_actions import operator
from glisk.tests.pipeline_world import build_world
from reveals.models import RevealTransaction
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from webhooks.models import WebhookEvent

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


def search(client: Client, term: str) -> str:
    """Return where a search leads, or the page of its hits."""
    answer = client.get(reverse("admin-search"), {"q": term})
    if answer.status_code == 302:
        return str(answer["Location"])
    assert answer.status_code == 200
    return answer.content.decode().partition('aria-label="Hits"')[2]


def titles(page: str) -> list[str]:
    return re.findall(r'<li><a href="[^"]+"><strong>([^<]+)</strong>', page)


def test_the_only_hit_is_gone_to(admin_client: Client) -> None:
    build_world(1)
    author = AuthorFactory.create(twitter_handle="MoonPainter", farcaster_handle="moon.eth")
    token = TokenFactory.create(token_id=700, author=author, status=TokenStatus.READY)
    ours = RevealTransaction.objects.order_by("-pk")[0]
    theirs = TokenFactory.create(status=TokenStatus.REVEALED, reveal_tx_hash=hash32(77))
    mint, event = MintEvent.objects.order_by("-pk")[0], WebhookEvent.objects.all()[0]
    job = ImageGenerationJob.objects.exclude(external_id=None)[0]
    for term, name, key in (
        ("700", "tokens_token", 700),
        (" #700 ", "tokens_token", 700),
        ("@moonpainter", "authors_author", author.pk),
        ("MOON.eth", "authors_author", author.pk),
        (ours.tx_hash.upper().replace("0X", "0x"), "reveals_revealtransaction", ours.pk),
        (hash32(77), "tokens_token", theirs.pk),
        (mint.tx_hash, "tokens_mintevent", mint.pk),
        (str(token.metadata_cid), "tokens_token", 700),
        (f"ipfs://{token.image_cid}", "tokens_token", 700),
        (event.event_id, "webhooks_webhookevent", event.pk),
        (job.external_id, "tokens_imagegenerationjob", job.pk),
    ):
        assert search(admin_client, str(term)) == reverse(f"admin:{name}_change", args=[key]), term
    assert search(admin_client, "webhook ev") == reverse("admin:webhooks_webhookevent_changelist")
    assert search(admin_client, "pause") == reverse("admin:glisk_systemstate_controls")


def test_several_hits_are_shown_by_kind(admin_client: Client) -> None:
    author = AuthorFactory.create(twitter_handle="moon")
    TokenFactory.create_batch(2, author=author, prompt_author_wallet=author.wallet_address)
    shown = search(admin_client, author.wallet_address.lower())
    assert re.findall("<h2>([^<]+)</h2>", shown) == ["Authors", "Tokens"]
    assert "2 as author" in shown
    typing = admin_client.get(
        reverse("admin-search"), {"q": author.wallet_address}, headers={"HX-Request": "true"}
    ).content.decode()
    assert titles(typing) == titles(shown)
    assert "<html" not in typing


@pytest.mark.parametrize("term", ["", "12345678", "0x" + "9" * 64, "\x00", "<b>x", "9" * 5000])
def test_what_is_not_there_is_said(admin_client: Client, term: str) -> None:
    build_world(1)
    shown = search(admin_client, term)
    assert titles(shown) == []
    assert "<b>x" not in shown
    assert ("Nothing found" in shown) is bool(term.strip("\x00"))


def test_nothing_is_found_that_somebody_may_not_see(client: Client) -> None:
    build_world(1)
    author = AuthorFactory.create(twitter_handle="moon")
    token = TokenFactory.create(author=author, status=TokenStatus.REVEALED)
    TokenFactory.create(prompt_author_wallet=author.wallet_address)
    operator(client, "glisk.view_workerheartbeat")
    transaction = RevealTransaction.objects.all()[0]
    for term in (
        str(token.pk),
        author.wallet_address,
        transaction.keeper,
        transaction.tx_hash,
        MintEvent.objects.all()[0].tx_hash,
        str(token.image_cid),
        WebhookEvent.objects.all()[0].event_id,
        "moon",
        "controls",
        "users",
    ):
        assert titles(search(client, term)) == [], term
    assert search(client, "worker") == reverse("admin:glisk_workerheartbeat_changelist")
    client.logout()
    assert "login" in search(client, "7")


@pytest.fixture
def by_index() -> Iterator[None]:
    """Read a few rows by an index if that is possible: they are always read whole otherwise."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        yield


@pytest.mark.usefixtures("by_index")
def test_each_query_is_answered_by_an_index(admin_user: User) -> None:
    build_world(12)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # a plan for tables that seem to be empty is one of chance
    token = Token.objects.exclude(image_cid=None)[0]
    terms = (
        str(token.pk),
        token.minter_address,
        RevealTransaction.objects.all()[0].keeper,
        hash32(123456),
        str(token.image_cid),
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        WebhookEvent.objects.all()[0].event_id,
        "some.handle",
    )
    for term in terms:
        with CaptureQueriesContext(connection) as captured:
            list(find(admin_user, term))
        queries = [query["sql"] for query in captured.captured_queries]
        assert 1 <= len(queries) <= 4, term
        for sql in queries:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Index Cond" in plan, (term, plan)
            assert "Seq Scan" not in plan, (term, plan)
