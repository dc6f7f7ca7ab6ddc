"""Bytes that were signed and not sent for a while: looked at again before they go out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient, RevealFacts
from reveals.pipeline import send
from reveals.tests.stage import (
    Scene,
    signed_and_dead,
    statuses,
    transactions,
)
from sandbox.accounts import AUTHORS
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("follower", [None, AUTHORS[1].address])
def test_what_was_signed_for_a_mint_that_is_gone_is_never_broadcast(
    worker: Start, scene: Scene, follower: str | None
) -> None:
    (token,) = scene.mint()
    signed_and_dead(worker)
    scene.chain.reorg(1)
    if follower:
        scene.chain.wait(scene.chain.mint(2, follower))
    drain = worker()
    drain.until(lambda: statuses() == ["replaced", "confirmed"])
    drain.settle(0.2)
    assert not scene.chain.is_revealed(token.token_id)
    assert transactions()[0].broadcast_at is None
    (reveal,) = scene.chain.reveal_transactions()
    assert reveal.token_ids == ()


def test_what_others_revealed_meanwhile_is_left_out_instead_of_reverting(
    worker: Start, scene: Scene
) -> None:
    theirs, *ours = scene.mint(3)
    signed_and_dead(worker)
    scene.chain.wait(scene.chain.reveal(0, [theirs.token_id], [str(theirs.token_uri)]))
    drain = worker()
    drain.until(lambda: statuses() == ["replaced", "confirmed"])
    drain.until(lambda: not Token.objects.exclude(status=TokenStatus.REVEALED).exists())
    assert transactions()[1].token_ids == [token.token_id for token in ours]
    assert Token.objects.get(pk=theirs.pk).adopted_uri == theirs.token_uri
    assert scene.nonce() == 1


def test_at_the_ceiling_too_wrong_tokens_are_left_out(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """No node has the old bytes: others are taken without an eighth more."""
    theirs, ours = scene.mint(2)
    signed_and_dead(worker)
    ceiling_wei = int(transactions()[0].max_fee_per_gas_wei)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = ceiling_wei / 1e9
    scene.chain.wait(scene.chain.reveal(0, [theirs.token_id], [str(theirs.token_uri)]))
    drain = worker()
    drain.until(lambda: statuses() == ["replaced", "confirmed"])
    assert transactions()[1].token_ids == [ours.token_id]
    assert int(transactions()[1].max_fee_per_gas_wei) <= ceiling_wei


def test_a_mint_that_is_missing_for_a_moment_only_delays(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that lags; the same bytes go when it knows the mint."""
    monkeypatch.setattr(send, "BELIEVED_AFTER_SECONDS", 30.0)
    tokens = scene.mint(2)
    signed_and_dead(worker)
    facts = ChainClient.reveal_facts
    asked: list[object] = []

    def lagging(self: ChainClient, **question: Any) -> RevealFacts:
        found = facts(self, **question)
        asked.append(question)
        if len(asked) > 3:
            return found
        missing = {i: replace(token, exists=False) for i, token in found.tokens.items()}
        return replace(found, tokens=missing)

    monkeypatch.setattr(ChainClient, "reveal_facts", lagging)
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1
    assert len(asked) >= 4


def test_a_token_that_is_not_what_was_signed_is_left_out(worker: Start, scene: Scene) -> None:
    """Between a revert that a reorg takes back and the new opening, it may be made anew."""
    changed, gone, same = scene.mint(3)
    signed_and_dead(worker)
    Token.objects.filter(pk=changed.pk).update(metadata_cid=gone.metadata_cid)
    Token.objects.filter(pk=gone.pk).update(status=TokenStatus.FAILED)
    drain = worker()
    drain.until(lambda: statuses() == ["replaced", "confirmed"])
    drain.until(lambda: scene.revealed_once([same]))
    assert transactions()[1].token_ids == [same.token_id]
    assert not scene.chain.is_revealed(changed.token_id)
