"""No node, no funds, a price above the ceiling: tokens wait, and go on by themselves."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient
from reveals.keeper import choose_fees, configured_ceiling_wei
from reveals.tests.stage import (
    Scene,
    breaker_reason,
    is_held_back,
    signed_and_dead,
    statuses,
    transactions,
)
from sandbox.accounts import KEEPER
from sandbox.chain import charge_for_data
from sandbox.node import free_port
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


def test_while_the_node_is_down_tokens_wait(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    tokens = scene.mint(2)
    right, settings.RPC_URL = settings.RPC_URL, f"http://127.0.0.1:{free_port()}"
    first = worker()
    first.until(is_held_back)
    assert "did not reach" in breaker_reason()
    assert Token.objects.filter(status=TokenStatus.READY).count() == 2
    first.stop()
    settings.RPC_URL = right
    worker().until(lambda: scene.revealed_once(tokens))


def most_wei(tokens: int) -> int:
    """What a batch of so many may cost at most, about."""
    history = ChainClient.from_settings().fee_history(percentile=50)
    fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
    return int(tokens * 110_000 * fees.max_fee_per_gas_wei)


def test_what_the_keeper_can_pay_for_goes_the_rest_after_a_top_up(
    worker: Start, scene: Scene
) -> None:
    tokens = scene.mint(16)  # what is paid in the end is about half of the most
    scene.chain.set_balance(KEEPER.address, most_wei(5))
    drain = worker()
    drain.until(is_held_back)
    assert len(transactions()[0].token_ids) in range(2, 6)
    assert "Send it some" in breaker_reason()
    assert Token.objects.filter(status=TokenStatus.READY).exists()
    drain.until(lambda: set(statuses()) == {"confirmed"})
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: scene.revealed_once(tokens))


def test_a_batch_shrinks_to_the_data_that_the_keeper_can_pay_for(
    worker: Start, scene: Scene
) -> None:
    charge_for_data(scene.chain, 10**12)
    tokens = scene.mint(8)
    scene.chain.set_balance(KEEPER.address, most_wei(8) + 10**12 * 1_100)  # of some 1,700 bytes
    drain = worker()
    drain.until(transactions)
    assert len(transactions()[0].token_ids) in range(2, 8)
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: scene.revealed_once(tokens))


def test_the_price_of_data_on_ethereum_is_part_of_what_a_reveal_costs(
    worker: Start, scene: Scene
) -> None:
    """The balance pays for all gas, and not for the bytes."""
    charge_for_data(scene.chain, 10**12)
    tokens = scene.mint(2)
    scene.chain.set_balance(KEEPER.address, most_wei(4))
    drain = worker()
    drain.until(is_held_back)
    assert "Send it some" in breaker_reason()
    drain.settle(0.3)
    assert transactions() == []
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: scene.revealed_once(tokens))


def test_the_data_of_what_is_in_flight_is_counted_too(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    tokens = scene.mint(4)
    charge_for_data(scene.chain, 10**12)
    # The gas of both batches, and the data of one and a half.
    scene.chain.set_balance(KEEPER.address, most_wei(8) + 10**12 * 900)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    drain.settle(0.5)
    assert len(transactions()) == 1
    assert "Send it some" in breaker_reason()
    scene.chain.set_balance(KEEPER.address, 10**18)
    drain.until(lambda: len(scene.pool()) == 2)
    scene.chain.set_automine(True)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))


def test_funds_that_are_gone_at_the_broadcast_are_waited_for(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    signed_and_dead(worker)
    scene.chain.set_balance(KEEPER.address, 1)
    second = worker()
    second.until(lambda: "Send it some" in breaker_reason())
    second.settle(0.3)
    assert statuses() == ["signed"]
    scene.chain.set_balance(KEEPER.address, 10**18)
    second.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_above_the_ceiling_tokens_wait_and_the_reason_is_known(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 0.000001
    tokens = scene.mint()
    drain = worker()
    drain.until(is_held_back)
    assert "REVEAL_MAX_GAS_PRICE_GWEI" in breaker_reason()
    drain.settle(0.3)
    assert transactions() == []
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 10.0
    drain.until(lambda: scene.revealed_once(tokens))
