"""Reveals that a reorg takes back after they were confirmed: pending again, and sent again."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient, encode_reveal
from reveals.models import RevealBatch, RevealTransaction
from reveals.pipeline import watch
from reveals.pipeline.watch import recall_batch
from reveals.tests.stage import (
    Scene,
    replacement,
    reveal,
    statuses,
    timeline,
    transactions,
)
from sandbox.accounts import ACCOUNTS, AUTHORS, KEEPER
from tokens.models import Token, TokenTransition
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


def test_the_same_bytes_are_sent_again(worker: Start, scene: Scene) -> None:
    drain, tokens = reveal(worker, scene, 2, blocks=2)
    (row,) = transactions()
    scene.chain.reorg(1)
    assert not scene.chain.is_revealed(tokens[0].token_id)
    drain.until(lambda: "ready" in timeline(tokens[0]))
    drain.until(lambda: scene.revealed_once(tokens))
    assert [r.tx_hash for r in scene.chain.reveal_transactions()] == [row.tx_hash]
    assert (statuses(), scene.nonce()) == (["confirmed"], 1)
    assert timeline(tokens[0]) == ["revealed", "ready", "revealed"]
    back = TokenTransition.objects.get(token_id=tokens[0].pk, to_status="ready")
    assert row.tx_hash in back.reason
    assert "took it back" in transactions()[0].error


def test_several_batches_come_back_in_nonce_order(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 1
    drain, tokens = reveal(worker, scene, 3, blocks=2)
    before = [row.tx_hash for row in transactions()]
    scene.chain.reorg(3)
    assert scene.nonce() == 0
    drain.until(lambda: scene.nonce() == 3)
    drain.until(lambda: scene.revealed_once(tokens))
    assert [row.tx_hash for row in transactions()] == before


def test_a_reveal_that_only_moved_stays_revealed(worker: Start, scene: Scene) -> None:
    drain, tokens = reveal(worker, scene, blocks=2)
    (row,) = transactions()
    scene.chain.mine(2)
    scene.chain.reorg(3, keep=[(row.tx_hash, 2)])
    drain.until(lambda: transactions()[0].block_number != row.block_number)
    assert transactions()[0].block_number == int(row.block_number or 0) + 2
    assert timeline(tokens[0]) == ["revealed"]


def test_a_replacement_that_is_mined_instead_is_entered(worker: Start, scene: Scene) -> None:
    tokens = scene.mint()
    scene.chain.mine(2)
    scene.chain.set_automine(False)
    drain = worker()
    drain.until(lambda: statuses() == ["broadcast"])
    (old,) = transactions()
    new = replacement(old)
    scene.chain.mine()
    drain.until(lambda: scene.revealed_once(tokens))
    scene.chain.reorg(1)
    scene.chain.w3.eth.send_raw_transaction(bytes(new.raw_transaction))
    scene.chain.mine()
    drain.until(lambda: Token.objects.get().reveal_tx_hash == new.tx_hash)
    drain.until(lambda: scene.revealed_once(tokens))
    assert statuses() == ["replaced", "confirmed"]
    assert "ready" not in timeline(tokens[0])
    moved = TokenTransition.objects.get(reason__contains="mined again")
    assert (moved.from_status, moved.to_status) == ("revealed", "revealed")


def test_when_somebody_else_revealed_it_instead_nothing_is_ready_again(
    worker: Start, scene: Scene
) -> None:
    tokens = scene.mint(2)
    theirs, ours = tokens
    scene.chain.mine(2)
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    scene.chain.set_automine(False)
    scene.chain.reorg(1)
    data = encode_reveal([theirs.token_id], [str(theirs.token_uri)])
    sender, contract = ACCOUNTS[0].address, scene.chain.contract.address
    scene.chain.rpc(
        "eth_sendTransaction",
        {"from": sender, "to": contract, "data": data, "gas": hex(300_000)},
    )
    scene.chain.mine()
    scene.chain.set_automine(True)
    drain.until(lambda: scene.chain.is_revealed(ours.token_id))
    drain.until(lambda: not RevealBatch.objects.filter(status="open").exists())
    theirs.refresh_from_db()
    assert (theirs.status, theirs.reveal_tx_hash) == (TokenStatus.REVEALED, None)
    assert theirs.adopted_uri == theirs.token_uri
    assert "ready" not in timeline(theirs)
    assert "ready" in timeline(ours)
    # Ours would have reverted: what was sent in its place leaves their token out.
    assert transactions()[-1].token_ids == [ours.token_id]
    assert "reverted" not in statuses()


def test_a_reveal_whose_mint_is_gone_is_never_sent_again(worker: Start, scene: Scene) -> None:
    """The contract would take it, for whoever mints the id next; its nonce is spent on nothing."""
    (token,) = scene.mint()
    drain = worker()
    drain.until(lambda: scene.revealed_once([token]))
    scene.chain.reorg(2)
    assert scene.chain.next_token_id() == token.token_id
    scene.chain.wait(scene.chain.mint(2, AUTHORS[1].address))
    drain.until(lambda: len(transactions()) == 2)
    drain.until(lambda: not RevealBatch.objects.filter(status="open").exists())
    assert transactions()[1].token_ids == []
    assert statuses() == ["replaced", "confirmed"]
    assert scene.nonce() == 1
    assert not scene.chain.is_revealed(token.token_id)
    reader = ChainClient.from_settings()
    scan_chain(reader)
    scene.chain.mine(2)
    scan_chain(reader)
    assert not Token.objects.filter(
        pk=token.pk, prompt_author_wallet=token.prompt_author_wallet
    ).exists()


def test_a_reorg_of_a_foreign_transaction_leaves_no_gap(worker: Start, scene: Scene) -> None:
    """It had a nonce that we never used; ours come after it."""
    tokens = scene.mint()
    scene.chain.mine(2)
    scene.chain.wait(scene.chain.send_raw(KEEPER.private_key, to=ACCOUNTS[1].address, value_wei=1))
    drain = worker()
    drain.until(lambda: scene.revealed_once(tokens))
    scene.chain.reorg(2)
    assert scene.nonce() == 0
    drain.until(lambda: scene.nonce() == 2 and scene.revealed_once(tokens))
    assert [(row.nonce, row.token_ids) for row in transactions()] == [
        (1, [tokens[0].token_id]),
        (0, []),
    ]


def test_a_lagging_node_recalls_nothing(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, tokens = reveal(worker, scene, blocks=2)
    look = watch.look

    def behind(*arguments: Any) -> watch.Sight:
        sight = look(*arguments)
        included = watch.Included(
            sight.included.head, dict.fromkeys(sight.included.receipts), {KEEPER.address: 0}
        )
        return watch.Sight(included, dict.fromkeys(sight.blocks))

    monkeypatch.setattr(watch, "look", behind)
    drain.settle(0.6)
    assert timeline(tokens[0]) == ["revealed"]
    assert statuses() == ["confirmed"]


def test_on_another_chain_nothing_is_recalled_freed_or_filled(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    """RPC_URL was mistaken: what that chain lacks says nothing of ours."""
    settings.BATCH_REVEAL_MAX_TOKENS = 1
    drain, tokens = reveal(worker, scene, 2, blocks=2)
    # Whichever was verified first went first.
    first, second = (batch.items.get().token for batch in RevealBatch.objects.order_by("nonce"))
    Token.objects.filter(pk=second.pk).update(
        status=TokenStatus.READY, reveal_tx_hash=None, revealed_at=None
    )
    RevealBatch.objects.filter(nonce=1).update(status="open", closed_at=None)
    RevealTransaction.objects.filter(nonce=1).update(status="broadcast")
    drain.crash()
    settings.CHAIN_ID = 8453
    scene.chain.reorg(2)
    other = worker()
    other.settle(1.5)
    assert [batch.status for batch in RevealBatch.objects.order_by("nonce")] == [
        "confirmed",
        "open",
    ]
    assert timeline(first) == ["revealed"]
    assert len(transactions()) == 2
    other.stop()
    settings.CHAIN_ID = 31337
    worker().until(lambda: scene.revealed_once(tokens))


def test_a_batch_that_another_process_opened_is_taken_up(worker: Start, scene: Scene) -> None:
    """The drain before found out while it was ending, when this one had read what is open."""
    drain, tokens = reveal(worker, scene, blocks=2)
    batch = RevealBatch.objects.get()
    reader = ChainClient.from_settings()
    scene.chain.reorg(1)
    sight = watch.look(reader, [batch], reader.tokens([tokens[0].token_id]))
    assert recall_batch(batch.pk, sight, actor="ending")
    assert not recall_batch(batch.pk, sight, actor="late")
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1
