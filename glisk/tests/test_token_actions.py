"""Everything that may be done with tokens by hand: who may, what it does, what stays of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from glisk.admin.actions import MOST_AT_ONCE
from glisk.clients.chain import ChainClient, OnChainToken
from glisk.models import SystemState
from glisk.permissions import (
    FAIL_TOKEN,
    HOLD_TOKEN,
    RECHECK_TOKEN,
    REGENERATE_TOKEN,
    RETRY_TOKEN,
    REVEAL_NOW,
)
from glisk.tests.admin_actions import (
    REASON,
    action_page,
    audit,
    confirmation,
    give,
    operator,
    send,
)
from reveals.models import RevealRequest
from tokens.models import Token, TokenTransition
from tokens.repairs import hold_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.repairs.stock import failed, with_artefacts

pytestmark = [pytest.mark.django_db, pytest.mark.pages]
TOKENS = "tokens_token"
LIST = "/admin/tokens/token/"


def held() -> Token:
    token = with_artefacts(TokenStatus.READY)
    hold_tokens(token_ids=[token.pk], actor="before", reason="wait")
    return token


@dataclass(frozen=True)
class Case:
    """An action: what it may be done with, with what not, and how one sees that it was done."""

    name: str
    permission: str
    make: Callable[[], Token]
    wrong: Callable[[], Token]
    was_done: Callable[[Token], bool]


def ready() -> Token:
    return with_artefacts(TokenStatus.READY)


def revealed() -> Token:
    token: Token = TokenFactory.create(status=TokenStatus.REVEALED)
    return token


CASES = [
    Case(
        "retry",
        RETRY_TOKEN,
        lambda: failed(TokenStatus.UPLOADING),
        ready,
        lambda token: token.status == TokenStatus.UPLOADING,
    ),
    Case(
        "regenerate",
        REGENERATE_TOKEN,
        ready,
        revealed,
        lambda token: token.status == TokenStatus.GENERATING and token.image_cid is None,
    ),
    Case("hold", HOLD_TOKEN, ready, revealed, lambda token: token.held_at is not None),
    Case("release", HOLD_TOKEN, held, ready, lambda token: token.held_at is None),
    Case("fail", FAIL_TOKEN, ready, revealed, lambda token: token.status == TokenStatus.FAILED),
    Case(
        "reveal",
        REVEAL_NOW,
        ready,
        held,
        lambda token: RevealRequest.objects.filter(token=token).exists(),
    ),
]
every_action = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def by_hand(token: Token) -> list[TokenTransition]:
    return list(token.transitions.filter(actor="operator maria"))


@every_action
def test_it_is_done_said_and_kept_once(client: Client, case: Case) -> None:
    operator(client, "tokens.view_token", case.permission)
    token = case.make()
    form, _ = confirmation(client, TOKENS, case.name, token.pk)
    said = send(client, TOKENS, case.name, {**form, "reason": REASON})
    token.refresh_from_db()
    assert case.was_done(token)
    assert len(said.done) == 1
    assert f"#{token.pk}" in said.done[0]
    assert not said.skipped
    again = send(client, TOKENS, case.name, {**form, "reason": REASON})  # a second click
    assert not again.done
    assert "asked for already" in again.skipped[0]
    (entry,) = by_hand(token)
    assert case.name == "reveal" or REASON in entry.reason
    assert not audit(TOKENS)  # nothing is kept twice


@every_action
def test_it_needs_its_permission(client: Client, case: Case) -> None:
    others = {other.permission for other in CASES} - {case.permission}
    operator(client, "tokens.view_token", *others)
    token = case.make()
    form = {"keys": str(token.pk), "once": "1", "reason": REASON}
    assert client.post(action_page(TOKENS, case.name), form).status_code == 403
    assert client.get(action_page(TOKENS, case.name), {"keys": token.pk}).status_code == 403
    page = client.get(reverse("admin:tokens_token_change", args=[token.pk])).content.decode()
    assert action_page(TOKENS, case.name) not in page
    chosen = {"action": case.name, "_selected_action": [token.pk]}
    assert "once" not in client.post(LIST, chosen).content.decode()
    assert not by_hand(token)
    assert not audit(TOKENS)


@every_action
def test_the_wrong_state_is_refused_with_the_reason(client: Client, case: Case) -> None:
    operator(client, "tokens.view_token", case.permission)
    token, right = case.wrong(), case.make()
    before = token.status
    said = give(client, TOKENS, case.name, token.pk, right.pk)
    token.refresh_from_db()
    assert token.status == before
    assert not by_hand(token)
    assert len(by_hand(right)) == 1
    (skipped,) = said.skipped
    assert f"#{token.pk}: " in skipped
    assert len(said.done) == 1


def test_what_needs_a_reason_is_not_done_without(client: Client) -> None:
    operator(client, "tokens.view_token", HOLD_TOKEN, REGENERATE_TOKEN, FAIL_TOKEN)
    token = ready()
    for name in ("hold", "regenerate", "fail"):
        form, _ = confirmation(client, TOKENS, name, token.pk)
        said = send(client, TOKENS, name, {**form, "reason": "  "})
        assert said.skipped == ["Say why: the reason is kept."]
    assert not by_hand(token)


def test_the_cost_is_named_before_it_is_spent(client: Client, settings: Settings) -> None:
    settings.REPLICATE_PRICES = {}
    settings.GENERATION_COST_USD = 0.003
    operator(client, "tokens.view_token", REGENERATE_TOKEN, RETRY_TOKEN, REVEAL_NOW)
    tokens = [ready(), ready()]
    ids = [token.pk for token in tokens]
    _, text = confirmation(client, TOKENS, "regenerate", *ids, revealed().pk)
    assert "2 new images: about 0.006 US dollars" in text
    assert "1 will be skipped" in text
    _, text = confirmation(client, TOKENS, "retry", failed(TokenStatus.UPLOADING).pk)
    assert "US dollars" not in text  # its image is here
    _, text = confirmation(client, TOKENS, "retry", ready().pk)
    assert 'type="submit" class="glisk-button' not in text  # there is nothing to be done
    SystemState.objects.create(
        state_key="keeper", state_value={"cost_per_token_wei": 10**12, "balance_wei": 10**15}
    )
    _, text = confirmation(client, TOKENS, "reveal", *ids)
    assert "about 0.000002 ETH" in text
    assert "the keeper has 0.001 ETH" in text
    assert not TokenTransition.objects.filter(actor="").exists()


def test_the_list_leads_to_the_confirmation(client: Client) -> None:
    operator(client, "tokens.view_token", HOLD_TOKEN)
    tokens = [ready(), ready()]
    ids = [token.pk for token in tokens]
    answer = client.post(f"{LIST}?status__exact=ready", {"action": "hold", "_selected_action": ids})
    assert answer.status_code == 200
    form = dict(answer.context["given"])
    assert sorted(map(int, form["keys"].split(","))) == ids
    assert form["next"] == f"{LIST}?status__exact=ready"
    gone = client.post(action_page(TOKENS, "hold"), {**form, "reason": "wait"})
    assert gone["Location"] == f"{LIST}?status__exact=ready"
    assert Token.objects.filter(held_at__isnull=False).count() == 2


def test_the_page_offers_what_fits(admin_client: Client) -> None:
    def offered(token: Token) -> set[str]:
        page = admin_client.get(reverse("admin:tokens_token_change", args=[token.pk]))
        return {button["action"].name for button in page.context["action_buttons"]}

    assert offered(revealed()) == {"recheck"}
    assert offered(failed(TokenStatus.UPLOADING)) == {"retry", "regenerate", "recheck"}
    assert offered(ready()) == {"reveal", "hold", "regenerate", "fail", "recheck"}
    assert offered(held()) == {"release", "regenerate", "fail", "recheck"}


def test_recheck_compares_with_the_chain(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    token, gone = ready(), ready()

    def on_chain(token: Token, *, exists: bool) -> OnChainToken:
        return OnChainToken(
            token_id=token.pk,
            exists=exists,
            prompt_author=token.prompt_author_wallet.lower(),
            owner=token.minter_address.lower(),
            revealed=False,
            uri="",
        )

    def ask(reader: ChainClient, token_ids: Sequence[int]) -> dict[int, OnChainToken]:
        return {token.pk: on_chain(token, exists=True), gone.pk: on_chain(gone, exists=False)}

    monkeypatch.setattr(ChainClient, "tokens", ask)
    operator(client, "tokens.view_token", RECHECK_TOKEN)
    said = give(client, TOKENS, "recheck", token.pk, gone.pk)
    assert "not revealed" in said.done[0]
    assert "does not know it" in said.skipped[0]
    assert [key for key, _ in audit(TOKENS)] == [str(token.pk)]


def test_a_node_that_is_away_is_said(client: Client, settings: Settings) -> None:
    settings.RPC_URL = "http://127.0.0.1:9"
    operator(client, "tokens.view_token", RECHECK_TOKEN)
    said = give(client, TOKENS, "recheck", ready().pk)
    assert not said.done
    assert said.skipped[0].startswith("Recheck: ")
    assert not audit(TOKENS)


def test_senseless_keys_are_refused(client: Client) -> None:
    operator(client, "tokens.view_token", HOLD_TOKEN)
    page = action_page(TOKENS, "hold")
    many = ",".join(map(str, range(1, MOST_AT_ONCE + 2)))
    for keys in ("1,x", "-1", "9" * 30, many):
        assert client.post(page, {"keys": keys, "once": "1"}).status_code == 403, keys
    assert client.get(page, {"keys": ""}).status_code == 302
    form = {"keys": str(ready().pk), "reason": "x"}
    assert client.post(page, form).status_code == 403  # nobody was asked
    away = {**form, "once": "1", "next": "https://example.com/"}
    assert client.post(page, away)["Location"].startswith("/admin/tokens/token/")
