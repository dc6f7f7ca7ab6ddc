"""From ready to revealed on a real chain: batches, order, nonces, and what is written down."""

from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient, RpcError
from glisk.engine.step import CallResult
from glisk.timing import timing
from reveals.models import RevealBatch
from reveals.tests.stage import Scene, reveal, transactions
from sandbox.accounts import AUTHORS, KEEPER
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.mark.fast
def test_a_ready_token_is_revealed_with_its_uri(worker: Start, scene: Scene) -> None:
    _, tokens = reveal(worker, scene)
    (row,) = transactions()
    (mined,) = scene.chain.reveal_transactions()
    assert mined.sender == KEEPER.address
    assert (row.status, row.tx_hash) == ("confirmed", mined.tx_hash)
    assert row.token_ids == [tokens[0].token_id]
    assert row.metadata_uris == [tokens[0].token_uri]
    assert (row.gas_used, row.gas_limit) == (mined.gas_used, mined.gas_limit)
    assert row.effective_gas_price_wei == mined.effective_gas_price_wei
    assert row.block_number == mined.block_number
    assert row.cost_wei == mined.gas_used * mined.effective_gas_price_wei
    moved = TokenTransition.objects.get(token=tokens[0])
    assert (moved.from_status, moved.to_status) == ("ready", "revealed")
    assert moved.detail == {"tx_hash": row.tx_hash, "block_number": row.block_number}
    batch = RevealBatch.objects.get()
    assert (batch.status, batch.items.get().is_open) == ("confirmed", False)
    assert batch.closed_at is not None
    assert len(scene.gateway.calls) == 2  # each file once


def test_tokens_that_are_ready_together_go_together_oldest_first(
    worker: Start, scene: Scene
) -> None:
    tokens = [*scene.mint(3), *scene.mint(2, author=AUTHORS[1].address)]
    Token.objects.filter(pk=tokens[4].pk).update(mint_timestamp="2020-01-01T00:00Z")
    worker().until(lambda: scene.revealed_once(tokens))
    (mined,) = scene.chain.reveal_transactions()
    assert mined.token_ids == tuple(tokens[i].token_id for i in (4, 0, 1, 2, 3))


def test_more_than_a_batch_goes_in_several_transactions_in_nonce_order(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 3
    settings.REVEAL_MAX_IN_FLIGHT = 2
    tokens = scene.mint(8)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: len(scene.pool()) == 2)
    drain.settle(0.3)
    assert len(transactions()) == 2  # no more are in flight than allowed
    scene.chain.set_automine(True)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert [row.nonce for row in transactions()] == [0, 1, 2]
    assert [len(row.token_ids) for row in transactions()] == [3, 3, 2]


def test_a_token_waits_for_company_that_is_on_its_way(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    tokens = scene.mint()
    other = TokenFactory.create(token_id=900, status=TokenStatus.GENERATING)
    drain = worker()
    drain.settle(0.2)
    assert transactions() == []
    settings.BATCH_REVEAL_WAIT_SECONDS = 0.3
    drain.until(lambda: scene.revealed_once(tokens))
    other.refresh_from_db()
    assert other.status == TokenStatus.GENERATING


def test_after_an_outage_batches_are_full(worker: Start, scene: Scene, settings: Settings) -> None:
    """All have waited long enough; only their artefacts are checked one after the other."""
    settings.BATCH_REVEAL_MAX_TOKENS = 8
    tokens = scene.mint(24)
    Token.objects.update(status_changed_at="2020-01-01T00:00Z")
    scene.gateway.set_faults(latency_seconds=(0.01, 0.06))
    worker().until(lambda: scene.revealed_once(tokens))
    assert [len(row.token_ids) for row in transactions()] == [8, 8, 8]


def test_company_that_waits_itself_is_not_waited_for(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    TokenFactory.create(
        token_id=900, status=TokenStatus.GENERATING, next_attempt_at="2090-01-01T00:00Z"
    )
    worker().until(lambda: scene.revealed_once(tokens))


def test_a_batch_above_the_gas_cap_is_parted(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four tokens need 390,000; with the buffer they are above it."""
    monkeypatch.setattr("reveals.pipeline.compose.MAX_TRANSACTION_GAS", 400_000)
    reveal(worker, scene, 8)
    assert [len(row.token_ids) for row in transactions()] == [2, 3, 3]
    assert max(row.gas_limit for row in transactions()) <= 400_000


def test_a_batch_that_the_node_calls_too_large_is_parted(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimate = ChainClient.fees_and_gas

    def refuse(self: ChainClient, **call: Any) -> Any:
        if len(call["data"]) > 1700:  # some tokens' worth
            raise RpcError(-32000, "intrinsic gas too high", "eth_estimateGas")
        return estimate(self, **call)

    monkeypatch.setattr(ChainClient, "fees_and_gas", refuse)
    reveal(worker, scene, 8)
    assert [len(row.token_ids) for row in transactions()] == [4, 4]


def test_every_result_may_come_twice(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a database that was lost in the middle of a turn."""
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    tokens = scene.mint(5)
    drain = worker()
    step = drain.step

    def step_and_deliver_again() -> list[CallResult]:
        results = step()
        drain.drain.turn(results)
        return results

    monkeypatch.setattr(drain, "step", step_and_deliver_again)
    drain.until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 3
    assert len(transactions()) == 3


def test_what_the_chain_said_long_ago_is_not_signed_upon(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "facts_last", -1.0)
    tokens = scene.mint()
    drain = worker()
    drain.settle(0.3)
    assert transactions() == []
    monkeypatch.setattr(timing, "facts_last", 30.0)
    drain.until(lambda: scene.revealed_once(tokens))
