"""Chaos in and before a real node: whatever it does, the reveals converge without an operator."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from glisk.timing import timing
from reveals.models import RevealBatch, RevealBatchToken
from reveals.tests.stage import Scene, in_the_pool, statuses, transactions
from sandbox.accounts import KEEPER
from sandbox.faulty_rpc import FaultyRpc
from sandbox.node import Node
from sandbox.tests.nodes import deployed_chain
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tests.stage import Start, Worker

pytestmark = pytest.mark.django_db


def test_replies_lost_after_acceptance(worker: Start, scene: Scene, proxy: FaultyRpc) -> None:
    tokens = scene.mint(3)
    proxy.lose_replies(3, "eth_sendRawTransaction")
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    assert proxy.seen.count("eth_sendRawTransaction") >= 4
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert (len(transactions()), scene.nonce()) == (1, 1)


def test_late_receipts_are_waited_for(
    worker: Start, scene: Scene, proxy: FaultyRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nonce is spent, and by none of ours, as it seems."""
    monkeypatch.setattr(timing, "superseded_after", 3600.0)
    tokens = scene.mint(2)
    proxy.delay_receipts(0.8)
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    assert statuses() == ["confirmed"]


def test_receipts_that_come_after_all_patience_are_entered_all_the_same(
    worker: Start, scene: Scene, proxy: FaultyRpc
) -> None:
    """By then the batch was given up, and its tokens were found revealed with our URI."""
    tokens = scene.mint(2)
    proxy.delay_receipts(3600)
    drain = worker()
    drain.until(lambda: RevealBatch.objects.filter(status="superseded").exists())
    proxy.calm()
    drain.until(lambda: Token.objects.filter(status=TokenStatus.REVEALED).count() == 2)
    drain.until(lambda: statuses() == ["confirmed"])
    assert scene.revealed_once(tokens)
    assert not Token.objects.filter(adopted_uri__isnull=False).exists()
    assert scene.nonce() == 1


def test_a_node_that_lags_is_waited_for(
    worker: Start, scene: Scene, proxy: FaultyRpc, settings: Settings
) -> None:
    """It does not know the mint yet, and later not the reveal."""
    settings.TRANSACTION_TIMEOUT_SECONDS = 1
    proxy.lag()
    tokens = scene.mint(2)
    drain = worker()
    drain.until(lambda: Token.objects.filter(error_class="not_minted").count() == 2)
    assert transactions() == []
    proxy.calm()
    Token.objects.update(next_attempt_at=None)
    drain.until(lambda: statuses() != [])
    proxy.lag()
    drain.settle(0.8)
    proxy.calm()
    drain.until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1


def test_a_base_fee_that_triples_is_followed(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    drain, tokens = in_the_pool(worker, scene, 2)
    # What is offered survives a doubling.
    scene.chain.set_base_fee(3 * int(transactions()[0].max_fee_per_gas_wei) // 2)
    scene.chain.mine()
    assert not scene.chain.is_revealed(tokens[0].token_id)
    drain.until(lambda: len(transactions()) > 1 and len(scene.pool()) == 1)
    settings.TRANSACTION_TIMEOUT_SECONDS = 180
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert scene.nonce() == 1


def test_a_node_that_restarts_without_its_pool(
    worker: Start,
    scene: Scene,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It gets everything again as soon as it is back, not at the next routine broadcast."""
    monkeypatch.setattr(timing, "rebroadcast", 3600.0)
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    with Node(port=0, block_time=None, state_file=tmp_path / "chain.json") as node:
        chain = deployed_chain(node)
        settings.RPC_URL = chain.rpc_url
        here = Scene(chain, scene.gateway, scene.store)
        chain.set_automine(True)
        tokens = here.mint(5)
        chain.set_automine(False)
        drain = worker()
        drain.until(lambda: len(here.pool()) == 3)
        node.checkpoint()
        node.kill()
        drain.until(lambda: "chain_unavailable" in caplog.text)
        drain.rest()
        node.start()
        assert here.pool() == []
        drain.until(lambda: len(here.pool()) == 3)
        chain.mine()
        drain.until(lambda: here.revealed_once(tokens))
        assert (here.nonce(), statuses()) == (3, ["confirmed"] * 3)


# -- all at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 11])
def test_a_storm_of_everything_with_crashes_in_between(
    worker: Start, scene: Scene, proxy: FaultyRpc, settings: Settings, seed: int
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.4
    settings.BATCH_REVEAL_MAX_TOKENS = 3
    settings.REVEAL_SAFE_CONFIRMATIONS = 30
    dice, chain = random.Random(seed), scene.chain
    tokens = scene.mint(24)
    chain.mine(3)
    chain.set_automine(False)
    bottom = chain.block_number()  # no reorg reaches the mints

    def drop() -> None:
        for tx_hash in scene.pool()[:1]:
            chain.drop_transaction(tx_hash)

    def reorg() -> None:
        if (depth := min(dice.randint(1, 3), chain.block_number() - bottom)) > 0:
            chain.reorg(depth)

    acts: list[Callable[[], object]] = [
        *[chain.mine] * 6,
        drop,
        reorg,
        lambda: chain.set_base_fee(min(3 * chain.base_fee_wei(), 10**9)),
        proxy.lag,
        lambda: proxy.delay_receipts(0.2),
        lambda: proxy.lose_some(0.3),
        lambda: proxy.swallow(2),
        proxy.calm,
    ]
    drain: Worker = worker()
    for step in range(40):
        dice.choice(acts)()
        drain.settle(0.06)
        if step % 10 == 9:
            drain.crash()
            drain = worker()
    proxy.calm()
    settings.TRANSACTION_TIMEOUT_SECONDS = 180

    def calm_weather() -> bool:
        chain.mine()
        if Token.objects.exclude(status=TokenStatus.REVEALED).exists():
            return False
        return not RevealBatch.objects.filter(settled_at=None).exists()

    drain.until(calm_weather)
    assert scene.revealed_once(tokens)
    check_against_chain(scene)


def check_against_chain(scene: Scene) -> None:
    """Every nonce has one transaction on chain, and it is the one that we call confirmed."""
    mined = {
        row.nonce: row.tx_hash
        for row in transactions()
        if row.status in ("confirmed", "reverted")
        and scene.chain.rpc("eth_getTransactionReceipt", row.tx_hash) is not None
    }
    assert sorted(mined) == list(range(scene.nonce()))
    assert len(RevealBatch.objects.filter(keeper=KEEPER.address)) == scene.nonce()
    assert not RevealBatchToken.objects.filter(is_open=True).exists()
    last: dict[int, str] = {}
    for move in TokenTransition.objects.order_by("pk"):
        assert last.get(move.token_id, "ready") == move.from_status
        last[move.token_id] = move.to_status
    assert set(last.values()) == {"revealed"}
