"""Confirmed reveals are watched until they are deep enough, and then no longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk.clients.chain.codec import Block, FeeHistory, Receipt
from glisk.timing import timing
from reveals.models import RevealBatch, RevealTransaction, TransactionStatus
from reveals.outbox import Shared
from reveals.pipeline import watch
from reveals.pipeline.receipts import Included
from reveals.pipeline.watch import Fate, FillGap, Sight, Watch, judge
from reveals.tests.factories import RevealBatchFactory
from reveals.tests.stage import (
    Scene,
    reveal,
    statuses,
    timeline,
    transactions,
)
from sandbox.accounts import KEEPER
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.mark.fast
def test_a_reorg_before_the_confirmations_takes_nothing_for_granted(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_CONFIRMATIONS = 3
    tokens = scene.mint()
    scene.chain.mine(3)
    drain = worker()
    drain.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    scene.chain.reorg(1)
    assert not scene.chain.is_revealed(tokens[0].token_id)
    drain.until(lambda: scene.chain.is_revealed(tokens[0].token_id))
    drain.settle(0.2)
    assert statuses() == ["broadcast"]
    scene.chain.mine(3)
    drain.until(lambda: scene.revealed_once(tokens))
    assert len(transactions()) == 1


def test_a_node_that_keeps_no_receipts_settles_by_the_block(
    worker: Start, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REVEAL_SAFE_CONFIRMATIONS = 3
    drain, tokens = reveal(worker, scene)
    look = watch.look

    def without_receipts(*arguments: Any) -> watch.Sight:
        sight = look(*arguments)
        hidden = dict.fromkeys(sight.included.receipts)
        return replace(sight, included=replace(sight.included, receipts=hidden))

    monkeypatch.setattr(watch, "look", without_receipts)
    drain.settle(0.3)
    assert RevealBatch.objects.get().settled_at is None
    scene.chain.mine(3)
    drain.until(lambda: RevealBatch.objects.get().settled_at)
    assert timeline(tokens[0]) == ["revealed"]


def test_what_is_deep_enough_or_old_is_not_asked_about_any_more(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.REVEAL_SAFE_CONFIRMATIONS = 5
    drain, _ = reveal(worker, scene)
    drain.settle(0.3)
    assert RevealBatch.objects.get().settled_at is None
    scene.chain.mine(4)
    drain.until(lambda: RevealBatch.objects.get().settled_at is not None)
    settings.REVEAL_SAFE_CONFIRMATIONS = 100  # on a chain without blocks time settles
    RevealBatch.objects.update(settled_at=None, closed_at=timezone.now() - timedelta(hours=1))
    drain.until(lambda: RevealBatch.objects.get().settled_at is not None)


def test_a_doubt_of_before_a_stop_does_not_make_one_look_enough(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looked meanwhile: the first node that is asked may lag."""
    before, tokens = reveal(worker, scene, blocks=2)
    before.crash()
    yesterday = (timezone.now() - timedelta(days=1)).timestamp()
    RevealBatch.objects.update(doubts={"gone": yesterday})
    monkeypatch.setattr(timing, "recall_after", 60.0)
    scene.chain.reorg(1)
    worker().until(lambda: RevealBatch.objects.get().doubts.get("gone", yesterday) > yesterday)
    assert timeline(tokens[0]) == ["revealed"]


def test_a_look_that_is_settled_again_is_still_one_look(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was lost meanwhile, for longer than a doubt has to last."""
    before, tokens = reveal(worker, scene, blocks=2)
    before.crash()
    scene.chain.reorg(1)
    monkeypatch.setattr(timing, "recall_after", 0.0)
    step = watch.Watch("test", Shared())
    (work,) = step.claim(1)
    seen = step.call(work)
    step.done(work, seen)
    step.done(work, seen)
    assert "gone" in RevealBatch.objects.get().doubts
    assert timeline(tokens[0]) == ["revealed"]


OTHERS, OURS = "0xe1", "0xe2"  # one nonce's transactions, of which one may be mined
BLOCK = "0xb10"


def receipt(tx_hash: str, *, succeeded: bool = True, block_hash: str = BLOCK) -> Receipt:
    return Receipt(tx_hash, succeeded, 10, block_hash, 1, 1, None)


@pytest.mark.parametrize(
    ("mined", "receipts", "blocks", "spent", "fate"),
    [
        pytest.param(False, [], {}, 6, Fate.KEPT, id="superseded, as it was"),
        pytest.param(False, [], {}, 5, Fate.DOUBTFUL, id="superseded, and the nonce is free"),
        pytest.param(False, [receipt(OTHERS)], {}, 6, Fate.DOUBTFUL, id="superseded, and mined"),
        pytest.param(True, [], {10: None}, 6, Fate.UNKNOWN, id="the node has not got there"),
        pytest.param(True, [receipt(OTHERS)], {}, 6, Fate.DOUBTFUL, id="another one is mined"),
        pytest.param(True, [], {10: "0xbad"}, 6, Fate.DOUBTFUL, id="its block is gone"),
        pytest.param(True, [], {10: BLOCK}, 6, Fate.KEPT, id="only the receipt is missing"),
        pytest.param(True, [receipt(OURS)], {}, 6, Fate.KEPT, id="not deep yet"),
        pytest.param(
            True, [receipt(OURS, succeeded=False)], {}, 6, Fate.DOUBTFUL, id="it has reverted"
        ),
        pytest.param(
            True, [receipt(OURS, block_hash="0xnew")], {}, 6, Fate.MOVED, id="in another block"
        ),
    ],
)
def test_what_became_of_a_closed_batch(
    settings: Settings,
    mined: bool,
    receipts: list[Receipt],
    blocks: dict[int, str | None],
    spent: int,
    fate: Fate,
) -> None:
    settings.REVEAL_SAFE_CONFIRMATIONS = 9
    rows = [
        RevealTransaction(tx_hash=OTHERS, status=TransactionStatus.REPLACED),
        RevealTransaction(tx_hash=OURS, status=TransactionStatus.REPLACED),
    ]
    if mined:
        rows[1].status, rows[1].block_number, rows[1].block_hash = "confirmed", 10, BLOCK
    batch: Any = SimpleNamespace(signed=rows, keeper="0x4b", nonce=5, closed_at=None)
    seen = dict.fromkeys((OTHERS, OURS)) | {each.tx_hash: each for each in receipts}
    included = Included(Block(17, "0xhead", 0), seen, {"0x4b": spent})
    assert judge(batch, Sight(included, blocks), keeper="0x4b") is fate
    if fate is Fate.KEPT and mined:
        deeper = replace(included, head=Block(18, "0xhead", 0))
        assert judge(batch, Sight(deeper, blocks), keeper="0x4b") is Fate.SETTLED
    if spent == 5:  # what a former keeper left is given up
        assert judge(batch, Sight(included, blocks), keeper="0x4c") is Fate.KEPT


def test_only_a_nonce_below_all_of_ours_is_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    batch = RevealBatchFactory.create(nonce=5, keeper=KEEPER.address)
    step = FillGap("a drain", Shared())
    step.done(batch, (5, FeeHistory(1_000, ())))
    assert RevealBatch.objects.count() == 1
    assert "nonce_gap" not in caplog.text
    step.done(batch, (4, FeeHistory(1_000, ())))
    filler = RevealBatch.objects.get(nonce=4)
    assert (filler.keeper, filler.to_sign and filler.to_sign["token_ids"]) == (KEEPER.address, [])


def test_what_is_watched_is_looked_at_when_it_is_due_and_not_before() -> None:
    RevealBatchFactory.create(status="confirmed", closed_at=timezone.now())
    step = Watch("a drain", Shared())
    assert (step.due_in(), step.places()) == (0.0, 1)
    step.claim(1)
    assert (step.due_in() or 0.0) > 0.0
    assert step.places() == 0
    RevealBatch.objects.update(settled_at=timezone.now())
    assert (step.due_in(), step.places()) == (None, 0)


@pytest.mark.parametrize(("confirmations", "limit"), [(64, 1_800), (1_000, 4_000)])
def test_without_a_block_of_ours_twice_the_time_of_the_blocks_settles(
    settings: Settings, confirmations: int, limit: int
) -> None:
    """Base makes one every two seconds; half an hour is the least."""
    settings.REVEAL_SAFE_CONFIRMATIONS = confirmations
    included = Included(Block(17, "0xhead", 0), {}, {"0x4b": 6})
    for age, fate in ((limit - 60, Fate.KEPT), (limit + 1, Fate.SETTLED)):
        closed_at = timezone.now() - timedelta(seconds=age)
        batch: Any = SimpleNamespace(signed=[], keeper="0x4b", nonce=5, closed_at=closed_at)
        assert judge(batch, Sight(included, {}), keeper="0x4b") is fate
