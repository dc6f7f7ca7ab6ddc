"""One page tells who did what, when and why: to tokens, stages, vendors, authors and logins."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from authors.tests.factories import AuthorFactory
from glisk.console import audit
from glisk.console.audit import entries
from glisk.console.controls import reset_breaker
from glisk.models import OperatorAction, SystemState
from glisk.pauses import pause_stage
from glisk.permissions import HOLD_TOKEN
from glisk.tests.admin_actions import give, operator
from glisk.tests.pipeline_world import build_world
from tokens.models import TokenTransition
from tokens.repairs import hold_tokens, release_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
PAGE = "/admin/audit/"


def rows(page: str) -> list[list[str]]:
    """Return the cells of the table: when, who, what, why."""
    found = re.findall(r"<tr>\s*(<td>.*?)</tr>", page, re.DOTALL)
    cells = (re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in found)
    return [[" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in row] for row in cells]


def test_everything_that_people_did_is_there_newest_first(admin_client: Client) -> None:
    token = TokenFactory.create(status=TokenStatus.READY)
    author = AuthorFactory.create(prompt_text="Dunes")
    pause_stage("upload", actor="operator maria", reason="maintenance at Pinata")
    hold_tokens(token_ids=[token.pk], actor="repair_tokens", reason="by a command")
    release_tokens(token_ids=[token.pk], actor="operator api", reason="by the operations API")
    give(admin_client, "tokens_token", "hold", token.pk, reason="by a button")
    form = {"prompt_text": "Seas", "twitter_handle": "", "farcaster_handle": ""}
    admin_client.post(reverse("admin:authors_author_change", args=[author.pk]), form)
    shown = [row[1:] for row in rows(admin_client.get(PAGE).content.decode())]
    assert shown[0][0] == "admin"
    assert "Changed Prompt" in shown[0][1]
    assert shown[1] == ["admin", f"Token #{token.pk}: Held", "by a button"]
    assert (shown[2][0], shown[2][2]) == ("api", "by the operations API")
    assert (shown[3][0], shown[3][2]) == ("repair_tokens", "by a command")
    assert shown[4] == ["maria", "Uploads: Paused", "maintenance at Pinata"]
    assert len(shown) == 5  # what the machine did is told elsewhere, and nothing is told twice


def test_the_history_of_an_object_leads_there(admin_client: Client) -> None:
    mine, other = TokenFactory.create_batch(2, status=TokenStatus.READY)
    hold_tokens(token_ids=[mine.pk, other.pk], actor="operator maria", reason="wait")
    SystemState.objects.create(state_key="breaker:pinata", state_value={"state": "open"})
    reset_breaker("pinata", actor="operator maria", reason="a new key")
    for name, key, why in (
        ("tokens_token", mine.pk, ["wait"]),
        ("glisk_systemstate", "breaker:pinata", ["a new key"]),
        ("authors_author", mine.author_id, []),
        ("auth_user", User.objects.get().pk, []),
    ):
        address = reverse(f"admin:{name}_history", args=[str(key).replace(":", "_3A")])
        answer = admin_client.get(address, follow=True)
        found = rows(answer.content.decode())
        assert [row[3] for row in found if len(row) == 4] == why, name
    assert "No person has changed it." in answer.content.decode()


def test_what_is_done_with_many_tokens_at_once_is_told_once(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE_SIZE", 3)
    tokens = TokenFactory.create_batch(4, status=TokenStatus.READY)
    give(admin_client, "tokens_token", "hold", *(token.pk for token in tokens), reason="wait")
    first = admin_client.get(PAGE).content.decode()
    older = re.search(r'href="(\?before=[^"]+)">Older', first)
    assert older is not None
    second = admin_client.get(PAGE + older[1].replace("&amp;", "&")).content.decode()
    assert [len(rows(page)) for page in (first, second)] == [3, 1]


def test_pages_follow_one_another_without_a_gap(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE_SIZE", 3)
    for number in range(4):
        hold_tokens(
            token_ids=[TokenFactory.create(status=TokenStatus.READY).pk],
            actor="operator maria",
            reason=f"token {number}",
        )
        OperatorAction.objects.create(actor="ada", action="recover", subject="system", reason="r")
    seen, address = [], PAGE
    while address:
        page = admin_client.get(address).content.decode()
        seen += [row[0] + row[3] for row in rows(page)]
        older = re.search(r'href="(\?before=[^"]+)">Older', page)
        address = PAGE + older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == 8
    for odd in ("before=never", "about=x", "about=tokens.token:x", "about=no.model:1"):
        assert admin_client.get(f"{PAGE}?{odd}").status_code == 200


def test_each_sees_what_they_may(client: Client) -> None:
    hold_tokens(
        token_ids=[TokenFactory.create(status=TokenStatus.READY).pk],
        actor="operator eve",
        reason="secret",
    )
    operator(client, "tokens.view_token", HOLD_TOKEN)
    assert client.get(PAGE).status_code == 403
    operator(client, "glisk.view_operatoraction", name="viewer")
    assert "secret" not in client.get(PAGE).content.decode()


def test_it_costs_the_same_at_any_size(admin_client: Client, admin_user: User) -> None:
    counts = []
    for _ in range(2):
        build_world(5)
        for token in TokenFactory.create_batch(3, status=TokenStatus.READY):
            hold_tokens(token_ids=[token.pk], actor="operator maria", reason="wait")
            give(admin_client, "tokens_token", "release", token.pk)
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(PAGE).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 12
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        with CaptureQueriesContext(connection) as captured:
            entries(admin_user)
        plans = []
        for query in captured.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))
    assert TokenTransition.objects.count() > 6
    assert any("transition_by_people" in plan for plan in plans)
