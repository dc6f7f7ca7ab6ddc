"""Another keeper takes over: the former one's transactions have their chance, and no more."""

from __future__ import annotations

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk.engine.broker import Listener
from reveals.models import RevealBatch
from reveals.outbox import Shared
from reveals.pipeline.sign import Sign
from reveals.tests.stage import (
    Scene,
    breaker_reason,
    signed_and_dead,
    statuses,
    transactions,
)
from sandbox.accounts import ACCOUNTS, KEEPER
from sandbox.chain import KEEPER_ROLE
from tokens.models import Token
from tokens.tests.stage import Start
from tokens.transitions import REVEAL_CHANNEL

pytestmark = pytest.mark.django_db


def test_a_new_keeper_leaves_the_old_ones_transactions_alone(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """The old keeper has spent more nonces; that says nothing of the new one's."""
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    for _ in range(3):
        scene.chain.wait(scene.chain.send_raw(9, to=ACCOUNTS[1].address, value_wei=1))
    old_tokens, new_tokens = scene.mint(), scene.mint()
    Token.objects.filter(pk=new_tokens[0].pk).update(next_attempt_at="2090-01-01T00:00Z")
    scene.chain.set_automine(False)
    first = worker()
    first.until(lambda: statuses() == ["broadcast"])
    first.stop()
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    second = worker()
    Token.objects.filter(pk=new_tokens[0].pk).update(next_attempt_at=None)
    second.until(lambda: len(transactions()) == 2)
    second.settle(0.6)
    assert sorted((row.keeper, row.nonce) for row in transactions()) == sorted(
        [(KEEPER.address, 3), (new_keeper.address, 0)]
    )
    scene.chain.mine()
    second.until(lambda: scene.revealed_once([*old_tokens, *new_tokens]))
    assert statuses() == ["confirmed", "confirmed"]


def test_what_a_former_keeper_cannot_send_goes_with_the_new_one(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_MAX_IN_FLIGHT = 1
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    old, other = scene.mint(2)
    Token.objects.filter(pk=other.pk).update(next_attempt_at="2090-01-01T00:00Z")
    signed_and_dead(worker)
    scene.chain.set_balance(KEEPER.address, 1)
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    second = worker()
    Token.objects.filter(pk=other.pk).update(next_attempt_at=None)
    second.until(lambda: scene.revealed_once([other]))
    assert breaker_reason() == ""
    second.settle(0.5)
    assert not scene.chain.is_revealed(old.token_id)  # it still has its chance
    settings.TRANSACTION_TIMEOUT_SECONDS = 0
    second.until(lambda: scene.revealed_once([old, other]))
    second.until(lambda: sorted(statuses()) == ["confirmed", "confirmed", "replaced"])
    assert "keeper was changed" in transactions()[0].error


@pytest.mark.django_db(transaction=True)
def test_what_was_not_signed_by_the_former_keeper_goes_at_once_with_the_new_one(
    scene: Scene,
) -> None:
    """Its tokens are free in the middle of a turn: the drain is woken for the next one."""
    RevealBatch.objects.create(keeper=ACCOUNTS[6].address, nonce=0, to_sign={"token_ids": []})
    shared = Shared()
    shared.read()
    listener = Listener([REVEAL_CHANNEL])
    try:
        assert Sign("a drain", shared).claim(1) == []
        assert not RevealBatch.objects.exists()
        assert len(list(listener.session.notifies(timeout=5, stop_after=1))) == 1
    finally:
        listener.session.close()


def test_a_former_keepers_transaction_may_be_mined_after_all(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """It was given up, and lay in somebody's pool."""
    new_keeper = ACCOUNTS[6]
    scene.chain.wait(scene.chain.send(0, "grantRole", KEEPER_ROLE, new_keeper.address))
    tokens = scene.mint(2)
    row = signed_and_dead(worker)
    settings.KEEPER_PRIVATE_KEY = new_keeper.private_key
    settings.TRANSACTION_TIMEOUT_SECONDS = 0
    scene.chain.set_balance(KEEPER.address, 1)
    second = worker()
    Token.objects.update(held_at=timezone.now(), hold_reason="a look")
    second.until(lambda: statuses() == ["replaced"])
    scene.chain.set_balance(KEEPER.address, 10**18)
    scene.chain.rpc("eth_sendRawTransaction", "0x" + bytes(row.raw_transaction).hex())
    Token.objects.update(held_at=None, hold_reason="")
    second.until(lambda: scene.revealed_once(tokens))
    second.until(lambda: statuses() == ["confirmed"])
