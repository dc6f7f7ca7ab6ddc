"""Transactions that are dropped, refused or stuck: sent again, or replaced for the same nonce."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import structlog
from pytest_django import Settings

from glisk.clients.chain import ChainClient, RpcError
from glisk.clients.signers import SignedTransaction
from reveals.models import RevealBatch
from reveals.outbox import Unsigned, store_signed
from reveals.tests.factories import RevealBatchFactory
from reveals.tests.stage import (
    Scene,
    in_the_pool,
    signed_and_dead,
    statuses,
    transactions,
)
from sandbox.faulty_rpc import FaultyRpc
from tokens.models import Token
from tokens.tests.factories import hash32
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db

GWEI = 10**9


def test_a_dropped_transaction_is_broadcast_again(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: len(scene.pool()) == 1)
    (tx_hash,) = scene.pool()
    scene.chain.drop_transaction(tx_hash)
    assert scene.pool() == []
    drain.until(lambda: scene.pool() == [tx_hash])
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32000, "E1071: not today"),
        (-32000, "nonce 0 is used by another transaction of this pool"),
        (3, "execution reverted"),
    ],
)
def test_a_refusal_that_the_chain_does_not_bear_out_is_outbid_after_the_time_out(
    worker: Start, scene: Scene, proxy: FaultyRpc, settings: Settings, code: int, words: str
) -> None:
    """Words that no rule knows, a nonce spent in a pool only, a trial that reverts."""
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    tokens = scene.mint(2)
    proxy.set_tips(0)
    proxy.refuse_sends(words, code=code, below_tip_wei=1_100)
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    old, new = transactions()[:2]
    assert (old.status, old.broadcast_at, new.replaces_id) == ("replaced", None, old.pk)
    assert (new.nonce, new.token_ids) == (old.nonce, old.token_ids)
    assert scene.nonce() == 1


def test_an_unknown_refusal_is_borne_and_shown_until_the_time_out(
    worker: Start, scene: Scene, proxy: FaultyRpc
) -> None:
    tokens = scene.mint()
    proxy.refuse_sends("E1071: not today")
    drain = worker()
    drain.until(lambda: proxy.seen.count("eth_sendRawTransaction") >= 8)
    assert ["E1071: not today" in row.error for row in transactions()] == [True]
    proxy.calm()
    drain.until(lambda: scene.revealed_once(tokens))
    assert [(row.status, row.error) for row in transactions()] == [("confirmed", "")]


def test_a_pool_that_wants_more_than_anybody_tips_gets_it_far_below_the_ceiling(
    worker: Start, scene: Scene, proxy: FaultyRpc, settings: Settings
) -> None:
    """Its least tip is dust, but a thousand times ours: by eighths the ceiling would come first."""
    proxy.set_tips(0)
    tokens = scene.mint()
    row = signed_and_dead(worker)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 100 * int(row.max_fee_per_gas_wei) / GWEI
    proxy.refuse_sends("gas tip cap too low, minimum needed 1000000", below_tip_wei=1_000_000)
    second = worker()
    second.until(lambda: scene.revealed_once(tokens))
    sent = transactions()[-1]
    assert 1_000_000 <= int(sent.max_priority_fee_per_gas_wei) < 2_100_000
    assert int(sent.max_fee_per_gas_wei) < 10 * int(row.max_fee_per_gas_wei)


def test_the_original_may_win_over_its_replacement(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.3
    drain, tokens = in_the_pool(worker, scene)
    (old_hash,) = scene.pool()
    drain.until(lambda: len(transactions()) == 2)
    settings.TRANSACTION_TIMEOUT_SECONDS = 180
    drain.until(lambda: scene.pool() not in ([], [old_hash]))
    (new_hash,) = scene.pool()
    scene.chain.drop_transaction(new_hash)
    raw = bytes(transactions()[0].raw_transaction)
    scene.chain.w3.eth.send_raw_transaction(raw)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert statuses()[0] == "confirmed"
    assert set(statuses()[1:]) == {"replaced"}
    assert Token.objects.get().reveal_tx_hash == old_hash


def test_at_the_ceiling_the_same_bytes_are_sent_again_with_pauses(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 0.2
    drain, tokens = in_the_pool(worker, scene)
    (old_hash,) = scene.pool()
    settings.REVEAL_MAX_GAS_PRICE_GWEI = int(transactions()[0].max_fee_per_gas_wei) / GWEI
    turns = drain.turns
    drain.settle(0.8)
    assert len(transactions()) == 1
    assert drain.turns - turns < 80
    assert scene.pool() == [old_hash]
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    assert Token.objects.get().reveal_tx_hash == old_hash


def test_a_refusal_at_the_ceiling_does_not_hammer_the_node(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base fee rose between signing and broadcast, and the ceiling leaves no room."""
    tokens = scene.mint()
    row = signed_and_dead(worker)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = int(row.max_fee_per_gas_wei) / GWEI
    refusals: list[bytes] = []
    send = ChainClient.send_raw_transaction

    def underpriced(self: ChainClient, raw: bytes) -> None:
        refusals.append(raw)
        raise RpcError(-32000, "max fee per gas less than block base fee", "x")

    monkeypatch.setattr(ChainClient, "send_raw_transaction", underpriced)
    second = worker()
    second.until(lambda: len(refusals) >= 2)
    refusals.clear()
    second.settle(0.8)
    assert len(refusals) <= 8
    monkeypatch.setattr(ChainClient, "send_raw_transaction", send)
    second.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_the_log_tells_a_replacement_from_the_first_signature() -> None:
    first, second = hash32(1), hash32(2)
    batch: RevealBatch = RevealBatchFactory.create(with_transaction=False)
    with structlog.testing.capture_logs() as logs:
        for tx_hash in (first, second):
            batch.to_sign = asdict(Unsigned([], [], 100_000, 2_000, 1_000))
            batch.save()
            assert store_signed(batch, SignedTransaction(tx_hash, b"\x02"))
    assert [(entry["event"], entry["log_level"], entry["replaces"]) for entry in logs] == [
        ("reveal_signed", "info", None),
        ("reveal_replaced", "warning", first),
    ]
