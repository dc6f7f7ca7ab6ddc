"""Nonces and tokens that others took first: the batch is freed, and each token goes once."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import encode_reveal
from glisk.clients.chain.codec import Block, Receipt
from glisk.errors import TransientError
from glisk.timing import timing
from reveals.models import RevealBatch, RevealTransaction
from reveals.pipeline import receipts
from reveals.pipeline.receipts import look_for_receipts
from reveals.tests.factories import RevealBatchFactory
from reveals.tests.stage import (
    Scene,
    signed_and_dead,
    statuses,
    transactions,
)
from sandbox.accounts import ACCOUNTS, KEEPER
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory
from tokens.tests.stage import Start, is_failed

pytestmark = pytest.mark.django_db

GWEI = 10**9


def test_a_nonce_that_somebody_else_spent_frees_the_tokens(worker: Start, scene: Scene) -> None:
    tokens = scene.mint(2)
    signed_and_dead(worker)
    scene.chain.wait(scene.chain.send_raw(KEEPER.private_key, to=ACCOUNTS[1].address, value_wei=1))
    worker().until(lambda: scene.revealed_once(tokens))
    assert [row.status for row in transactions()] == ["replaced", "confirmed"]
    assert [row.nonce for row in transactions()] == [0, 1]
    assert list(RevealBatch.objects.order_by("pk").values_list("status", flat=True)) == [
        "superseded",
        "confirmed",
    ]


def test_a_reveal_that_reverts_frees_the_tokens_and_pauses(worker: Start, scene: Scene) -> None:
    """Somebody reveals one of them while our transaction waits in the pool."""
    foreign, *good = scene.mint(3)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: len(scene.pool()) == 1)
    data = encode_reveal([foreign.token_id], ["ipfs://other"])
    better = {"maxPriorityFeePerGas": hex(GWEI), "maxFeePerGas": hex(9 * GWEI), "gas": hex(300_000)}
    sender, contract = ACCOUNTS[0].address, scene.chain.contract.address
    scene.chain.rpc("eth_sendTransaction", {"from": sender, "to": contract, "data": data, **better})
    scene.chain.mine()
    drain.until(lambda: statuses()[:1] == ["reverted"])
    assert {t.error_class for t in Token.objects.all()} == {"reverted"}
    scene.chain.set_automine(True)
    drain.until(lambda: scene.revealed_once(good))
    drain.until(is_failed(foreign))
    foreign.refresh_from_db()
    assert foreign.error_class == "already_revealed"
    assert statuses() == ["reverted", "confirmed"]
    assert transactions()[0].gas_used is not None
    assert transactions()[0].error == f"Reverted: AlreadyRevealed({foreign.token_id})"


def are_mined(hashes: list[str]) -> bool:
    rows = RevealTransaction.objects.filter(tx_hash__in=hashes, block_number__isnull=False)
    return rows.count() == len(hashes)


def test_a_token_that_reverts_only_when_mined_gets_to_be_alone_and_fails(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every simulation is good; the others are revealed, in smaller and smaller batches."""
    monkeypatch.setattr(timing, "revert_wait", 0.0)
    bad, *good = scene.mint(5)
    scene.chain.set_automine(False)
    drain = worker()
    for _ in range(20):
        drain.until(lambda: scene.pool() or Token.objects.filter(status="failed").exists())
        if Token.objects.filter(status=TokenStatus.FAILED).exists():
            break
        sent = scene.pool()
        scene.jam(bad.token_id)
        scene.chain.mine()
        scene.jam(bad.token_id, jammed=False)
        drain.until(partial(are_mined, sent))
    scene.chain.set_automine(True)
    drain.until(lambda: scene.revealed_once(good))
    bad.refresh_from_db()
    assert (bad.status, bad.error_class) == (TokenStatus.FAILED, "reverted")
    reverted = [row for row in transactions() if row.status == "reverted"]
    assert [len(row.token_ids) for row in reverted] == [5, 5, 2, 1]
    assert not scene.chain.is_revealed(bad.token_id)


def test_a_revert_counts_though_nobody_can_say_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive node is needed to repeat it; what is known from the receipt needs none."""
    settings.REVEAL_CONFIRMATIONS = 1
    monkeypatch.setattr(receipts, "encode_reveal", lambda ids, uris: "0x")

    def explain(**_asked: Any) -> None:
        raise TransientError("chain: missing trie node", vendor="chain")

    read = SimpleNamespace(
        chain_id=settings.CHAIN_ID,
        head=Block(10, "0xb10", 0),
        transaction_count=1,
        receipts={"0xe1": Receipt("0xe1", False, 10, "0xb10", 50_000, 1, None)},
    )
    chain: Any = SimpleNamespace(mined_transactions=lambda **_asked: read, explain_revert=explain)
    row = RevealTransaction(tx_hash="0xe1", keeper="0x4b", token_ids=[7], gas_limit=90_000)
    reason, culprit = look_for_receipts(chain, [row], explains=True).reverts["0xe1"]
    assert "missing trie node" in reason
    assert culprit is None


def test_whom_the_contract_names_waits_from_the_second_time_and_the_others_never() -> None:
    named, other = TokenFactory.create_batch(2, status=TokenStatus.READY)

    def reverts(culprit: int | None) -> list[bool]:
        """Have one more transaction of both revert; tell who waits."""
        batch = RevealBatchFactory.create(tokens=[named, other], status="reverted")
        found = receipts._refusals_after_revert(batch.transactions.get(), "reverted", culprit)
        waits = {refusal.token_id: refusal.wait_seconds > 0 for refusal in found}
        return [waits[named.pk], waits[other.pk]]

    assert reverts(named.pk) == [False, False]
    assert reverts(named.pk) == [True, False]
    assert reverts(None) == [True, True]  # if nobody is named, all wait
