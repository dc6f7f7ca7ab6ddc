"""A buyer follows a mint: states, places in line, and an honest estimate."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from glisk.api.short_memory import forget_all
from glisk.models import SystemState
from tokens.api.mints import measure_pace
from tokens.models import MintEvent, Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory, hash32

pytestmark = pytest.mark.django_db
WAY = [TokenStatus.DETECTED, TokenStatus.GENERATING, TokenStatus.UPLOADING, TokenStatus.READY]


def mint(first: int, quantity: int, **facts: Any) -> MintEvent:
    found = MintEventFactory.create(start_token_id=first, quantity=quantity, **facts)
    for token_id in found.token_ids:
        TokenFactory.create(
            token_id=token_id, mint_event=found, mint_timestamp=found.block_timestamp
        )
    return found


def ask(client: Client, tx_hash: str) -> dict[str, Any]:
    answer = client.get(f"/api/mints/{tx_hash}")
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def reveal_with_history(token_id: int, *, seconds: dict[TokenStatus, float]) -> None:
    """Make a revealed token that entered each state so many seconds before its reveal."""
    token = TokenFactory.create(token_id=token_id, status=TokenStatus.REVEALED)
    assert token.revealed_at
    for status, before in seconds.items():
        entered = TokenTransition.objects.create(
            token=token, from_status="", to_status=status, attempt=0, actor="test"
        )
        at = token.revealed_at - timedelta(seconds=before)
        TokenTransition.objects.filter(pk=entered.pk).update(created_at=at)


def test_shows_all_tokens_of_a_transaction(
    client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    found = mint(1, 3)
    mint(4, 2, tx_hash=found.tx_hash, log_index=7, block_timestamp=found.block_timestamp)
    with django_assert_num_queries(4):  # the mints, the line, the pace's two
        body = ask(client, found.tx_hash.upper().replace("0X", "0x"))
    assert [token["token_id"] for token in body["tokens"]] == [1, 2, 3, 4, 5]
    assert (body["tx_hash"], body["minter_address"]) == (found.tx_hash, found.minter)
    assert (body["total"], body["revealed"], body["done"]) == (5, 0, False)
    with django_assert_num_queries(2):
        ask(client, found.tx_hash)


def test_is_done_when_all_are_revealed(client: Client) -> None:
    found = MintEventFactory.create(quantity=2)
    for token_id in found.token_ids:
        TokenFactory.create(token_id=token_id, mint_event=found, status=TokenStatus.REVEALED)
    body = ask(client, found.tx_hash)
    assert (body["revealed"], body["done"]) == (2, True)
    assert {token["estimated_seconds"] for token in body["tokens"]} == {0}
    assert {token["position"] for token in body["tokens"]} == {None}


def test_the_line_goes_by_the_age_of_the_mint(client: Client) -> None:
    now = timezone.now()
    late = mint(1, 2, block_timestamp=now)
    early = mint(10, 2, block_timestamp=now - timedelta(minutes=1))
    TokenFactory.create(token_id=20, status=TokenStatus.FAILED)
    places = [token["position"] for token in ask(client, early.tx_hash)["tokens"]]
    assert places == [1, 2]
    assert [token["position"] for token in ask(client, late.tx_hash)["tokens"]] == [3, 4]


def test_estimates_by_what_the_last_ones_took(client: Client) -> None:
    found = mint(1, 1)
    assert ask(client, found.tx_hash)["tokens"][0]["estimated_seconds"] is None  # no history
    for token_id, total in ((101, 10.0), (102, 14.0), (103, 60.0)):
        reveal_with_history(token_id, seconds=dict(zip(WAY, (total, total, 4, 2), strict=True)))
    since = timezone.now() - timedelta(seconds=5)
    Token.objects.filter(pk=1).update(status_changed_at=since)
    forget_all()
    estimated = ask(client, found.tx_hash)["tokens"][0]["estimated_seconds"]
    assert 14 - (timezone.now() - since).total_seconds() - 1 <= estimated <= 14 - 5
    assert measure_pace().generation == pytest.approx(10.0)


def test_those_far_back_in_line_wait_for_the_generations_before_them(
    client: Client, settings: Settings
) -> None:
    settings.WORKER_BATCH_SIZE = 10
    reveal_with_history(101, seconds=dict(zip(WAY, (200, 190, 90, 20), strict=True)))
    tokens = ask(client, mint(1, 50).tx_hash)["tokens"]
    estimated = [tokens[place - 1]["estimated_seconds"] for place in (1, 10, 50)]
    assert estimated == pytest.approx([200, 200, 200 + 4 * 100], abs=20)


@pytest.mark.parametrize(("vendor", "known"), [("replicate", False), ("opensea", True)])
def test_a_vendor_that_is_out_ends_the_estimate(client: Client, vendor: str, known: bool) -> None:
    reveal_with_history(101, seconds=dict.fromkeys(WAY, 10.0))
    SystemState.objects.create(state_key=f"breaker:{vendor}", state_value={"state": "open"})
    told = ask(client, mint(1, 1).tx_hash)["tokens"][0]["estimated_seconds"]
    assert (told is not None) is known


def test_a_held_or_failed_token_has_no_estimate(client: Client) -> None:
    reveal_with_history(101, seconds=dict.fromkeys(WAY, 10.0))
    found = mint(1, 2)
    Token.objects.filter(pk=1).update(held_at=timezone.now(), hold_reason="a look")
    Token.objects.get(pk=2).mark_failed("secret", error_class="validation")
    held, failed = ask(client, found.tx_hash)["tokens"]
    assert (held["estimated_seconds"], held["error"]) == (None, None)
    assert failed["estimated_seconds"] is None
    assert failed["error"] == "The author's prompt cannot be used."


def test_what_is_no_known_mint_is_not_found_in_words(client: Client) -> None:
    for path in (hash32(1), "0x12", f"{hash32(1)}%0A", "0x12/events", f"{hash32(1)}%0A/events"):
        answer = client.get(f"/api/mints/{path}")
        assert answer.status_code == 404
        assert isinstance(answer.json()["detail"], str)
