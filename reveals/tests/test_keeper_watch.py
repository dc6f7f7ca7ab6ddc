"""What is known of the keeper: balance as reveals left, low, empty, blocked, and good again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from pytest_django import Settings

from glisk.clients.chain import ChainClient, RpcClient
from glisk.models import SystemState
from reveals import tasks
from reveals.keeper import (
    KEY,
    USUAL_BYTES_PER_TOKEN,
    USUAL_GAS_PER_TOKEN,
    keeper_state,
    look_at_keeper,
    reveal_costs,
)
from reveals.tests.stage import Scene, reveal, transactions
from sandbox.accounts import KEEPER, STRANGER
from sandbox.chain import charge_for_data
from sandbox.faulty_rpc import FaultyRpc
from sandbox.node import free_port
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db

ETHER = 10**18


def look(scene: Scene) -> str:
    """Look at the keeper as the schedule does; return what is known then."""
    assert tasks.look_at_keeper() == 1
    return keeper_state().status


def test_before_the_first_look_nothing_is_claimed(client: Client) -> None:
    assert client.get("/health/keeper").json()["status"] == "unknown"


def test_the_balance_is_told_as_reveals_left(scene: Scene, client: Client) -> None:
    scene.chain.set_balance(KEEPER.address, ETHER)
    assert look(scene) == "ok"
    found = client.get("/health/keeper").json()
    assert (found["address"], found["balance_wei"]) == (KEEPER.address, ETHER)
    assert found["cost_per_token_wei"] == USUAL_GAS_PER_TOKEN * found["gas_price_wei"]
    assert found["reveals_left"] == ETHER // found["cost_per_token_wei"]
    assert (found["reason"], found["unreachable"]) == ("", "")


def test_the_l1_fee_of_the_receipts_is_measured_or_else_reckoned(
    worker: Start, scene: Scene, proxy: FaultyRpc
) -> None:
    """Some nodes leave it out of their receipts."""
    charge_for_data(scene.chain, 10**10)
    drain, _ = reveal(worker, scene, 3)
    look(scene)
    gas_wei = int(transactions()[0].cost_wei or 0) // 3
    assert keeper_state().cost_per_token_wei == gas_wei + USUAL_BYTES_PER_TOKEN * 10**10
    proxy.tell_l1_fees(6 * 10**12)
    more = scene.mint(3)
    drain.until(lambda: scene.revealed_once(more))
    assert transactions()[-1].l1_fee_wei == 6 * 10**12
    look(scene)
    assert keeper_state().cost_per_token_wei == reveal_costs().wei_per_token


def test_it_warns_before_it_is_empty_and_goes_on_after_a_top_up(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.KEEPER_LOW_REVEALS = 500
    look(scene)
    cost = keeper_state().cost_per_token_wei
    scene.chain.set_balance(KEEPER.address, 300 * cost)
    assert look(scene) == "low"
    assert "enough for about 300 reveals" in keeper_state().reason
    scene.chain.set_balance(KEEPER.address, cost // 2)
    assert look(scene) == "empty"
    assert "topped up" in keeper_state().reason
    tokens = scene.mint()
    drain = worker()
    drain.settle(0.3)
    assert transactions() == []
    scene.chain.set_balance(KEEPER.address, ETHER)
    drain.until(lambda: scene.revealed_once(tokens))
    assert look(scene) == "ok"


def test_what_forbids_every_reveal_is_told(scene: Scene, settings: Settings) -> None:
    settings.KEEPER_PRIVATE_KEY = STRANGER.private_key
    assert look(scene) == "blocked"
    assert f"{STRANGER.address} has no KEEPER_ROLE" in keeper_state().reason


def test_a_high_gas_price_is_told_with_its_duration(scene: Scene, settings: Settings) -> None:
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 0.000001
    assert look(scene) == "blocked"
    since = keeper_state().gas_price_high_since
    assert "REVEAL_MAX_GAS_PRICE_GWEI" in keeper_state().reason
    earlier = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    row = SystemState.objects.get(state_key=KEY)
    row.state_value["gas_price_high_since"] = earlier
    row.save()
    look(scene)
    assert since is not None
    assert keeper_state().gas_price_high_since == earlier
    assert "so for 10 min" in keeper_state().reason
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 10.0
    assert look(scene) == "ok"
    assert keeper_state().gas_price_high_since is None


def test_a_node_that_does_not_answer_leaves_what_was_known(scene: Scene) -> None:
    look(scene)
    known = keeper_state()
    chain = ChainClient(
        RpcClient(f"http://127.0.0.1:{free_port()}"),
        contract_address=str(scene.chain.contract.address),
    )
    state = look_at_keeper(chain, address=KEEPER.address)
    assert state.unreachable
    assert (state.balance_wei, state.checked_at) == (known.balance_wei, known.checked_at)


def test_without_a_keeper_nobody_looks(settings: Settings) -> None:
    settings.ENABLE_REVEAL_WORKER = False
    assert tasks.look_at_keeper() == 0


def test_a_foreign_value_counts_as_nothing_known() -> None:
    SystemState.objects.create(state_key=KEY, state_value=["odd"])
    assert keeper_state().status == "unknown"
