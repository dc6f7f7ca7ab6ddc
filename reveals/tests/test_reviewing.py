"""Bytes that were signed and not sent for a while: looked at again before they go out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from glisk.clients.chain import ChainClient, FeeHistory, RevealFacts
from glisk.clients.chain.codec import Block
from glisk.clock import database_now
from glisk.engine.step import Done, Failed
from glisk.errors import TransientError
from glisk.timing import timing
from reveals import outbox
from reveals.keeper import Fees
from reveals.models import RevealBatch
from reveals.outbox import Doubt, Shared
from reveals.pipeline.receipts import Included, Receipts
from reveals.pipeline.send import Review, Send, Sent, Verdict
from reveals.pipeline.sign import Sign
from reveals.tests.factories import RevealBatchFactory
from reveals.tests.stage import (
    Scene,
    in_the_pool,
    replacement,
    signed_and_dead,
    statuses,
    transactions,
)
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.stage import Start
from tokens.transitions.claims import Refusal

pytestmark = pytest.mark.django_db


def test_what_was_signed_for_a_mint_that_is_gone_is_never_broadcast(
    worker: Start, scene: Scene
) -> None:
    (token,) = scene.mint()
    signed_and_dead(worker)
    scene.chain.reorg(1)
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
    monkeypatch.setattr(timing, "believed_after", 30.0)
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


def test_a_drain_that_slept_after_its_claim_sends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile another one may have gone on, with other bytes."""
    sent: list[bytes] = []
    monkeypatch.setattr(ChainClient, "send_raw_transaction", lambda _, raw: sent.append(raw))
    RevealBatchFactory.create(reviewed_at=database_now())
    shared = Shared()
    shared.read()
    step = Send("a drain", shared)
    (work,) = step.claim(1)
    with pytest.raises(TransientError, match="claimed too long ago") as caught:
        step.call(replace(work, began=work.began - timing.facts_last))
    assert sent == []
    step.settle([], [Failed(work, caught.value)])
    assert RevealBatch.objects.get().failures == 1  # the row has it tried again
    step.call(work)
    assert sent == [work.raw]


def test_what_was_seen_before_a_recall_is_void() -> None:
    RevealBatchFactory.create(reviewed_at=database_now() - timedelta(seconds=9))
    (seen,) = outbox.open_batches()
    outbox.send_later(seen, 15, reviewed_at=database_now())
    (known,) = outbox.open_batches()
    assert known.send_at is not None
    assert known.reviewed_at and seen.reviewed_at and known.reviewed_at > seen.reviewed_at

    outbox.review_all_now()  # as a recall does
    outbox.send_later(known, 15, reviewed_at=database_now())
    fees = Fees(2 * 12_000_000, 2 * 1_000_000)
    old = known.newest
    outbox.order_replacement(old, fees=fees, token_ids=old.token_ids, reviewed_at=database_now())
    row = RevealBatch.objects.get()
    assert (row.reviewed_at, row.send_at, row.to_sign) == (None, None, None)
    (recalled,) = outbox.open_batches()
    outbox.order_replacement(
        recalled.newest, fees=fees, token_ids=old.token_ids, reviewed_at=database_now()
    )
    assert RevealBatch.objects.get().to_sign is not None


def test_what_was_mined_meanwhile_is_not_sent_nor_replaced(worker: Start, scene: Scene) -> None:
    drain, _ = in_the_pool(worker, scene)
    drain.crash()
    scene.chain.mine()
    outbox.review_all_now()
    step = Send("a drain", Shared())
    step.shared.read()
    (work,) = step.claim(1)
    sent = step.call(work)
    assert sent.review is not None and sent.review.spent
    assert (sent.fees, sent.verdict, sent.refusal) == (None, None, "")


def test_what_is_not_to_be_signed_any_more_is_not_stored(worker: Start, scene: Scene) -> None:
    scene.mint()
    signed_and_dead(worker)
    (batch,) = outbox.open_batches()
    old, fees = batch.newest, Fees(2 * 12_000_000, 2 * 1_000_000)
    outbox.order_replacement(old, fees=fees, token_ids=old.token_ids, reviewed_at=database_now())
    (batch,) = outbox.open_batches()
    signed = Sign("a drain", Shared()).call(batch)
    RevealBatch.objects.update(to_sign={**(batch.to_sign or {}), "gas_limit": 1})
    assert not outbox.store_signed(batch, signed)
    assert len(transactions()) == 1
    RevealBatch.objects.update(to_sign=batch.to_sign)
    assert outbox.store_signed(batch, signed)


def test_what_was_signed_meanwhile_is_asked_for_before_a_batch_is_given_up(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its nonce is spent: perhaps by the bytes that this look did not know of."""
    monkeypatch.setattr(timing, "superseded_after", 0.0)
    scene.mint()
    row = signed_and_dead(worker)
    step = Receipts("a drain", Shared())
    step.shared.read()
    (known,) = step.claim(1)
    unmined = step.call(known)
    spent = replace(unmined, transaction_counts={row.keeper: row.nonce + 1})
    hashes = {row.tx_hash, replacement(row).tx_hash}
    step.done(known, spent)
    assert RevealBatch.objects.get().status == "open"
    step.shared.read()
    (known,) = step.claim(1)
    step.done(known, replace(spent, receipts=dict.fromkeys(hashes)))
    assert RevealBatch.objects.get().status == "superseded"


def test_a_batch_behind_one_that_waits_wakes_nobody(scene: Scene) -> None:
    """Its moment is past, but its turn comes only when the nonce before it was taken."""
    now, shared = database_now(), Shared()
    for nonce, send_at in enumerate((now + timedelta(seconds=9), now)):
        batch = RevealBatchFactory.create(nonce=nonce, send_at=send_at)
        batch.transactions.update(broadcast_at=None)
    shared.read()
    step = Send("a drain", shared)
    assert 8 < (step.due_in() or 0.0) < 10
    assert step.claim(5) == []
    RevealBatch.objects.get(nonce=0).transactions.update(broadcast_at=now)
    shared.read()
    assert step.due_in() == 0.0
    assert [work.batch.nonce for work in step.claim(5)] == [1]


def test_after_an_outage_what_is_in_flight_is_sent_at_once_and_only_then() -> None:
    """The node that was away may have lost its pool."""
    waits = database_now() + timedelta(seconds=900)
    batch = RevealBatchFactory.create(nonce=5, send_at=waits)
    step = Receipts("a drain", Shared())
    step.shared.read()
    (known,) = step.claim(1)
    nothing = Included(
        Block(9, "0x9", 0),
        {row.tx_hash: None for row in batch.signed},
        {batch.keeper: 5, step.keeper.address: 5},
    )
    for outages, send_at in ((0, waits), (1, None)):
        for _ in range(outages):
            step.settle([], [Failed(known, TransientError("away", vendor="chain"))])
        step.settle([Done(known, nothing)], [])
        assert RevealBatch.objects.get().send_at == send_at
        assert step.failures == 0


def test_what_a_former_keeper_signed_is_given_up_when_it_is_late_and_not_before(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "superseded_after", 0.0)
    batch = RevealBatchFactory.create(nonce=5)
    step = Receipts("a drain", Shared())
    unmined = Included(
        Block(9, "0x9", 0),
        {row.tx_hash: None for row in batch.signed},
        {batch.keeper: 5, step.keeper.address: 5},
    )
    for seconds, status in ((9, "open"), (-9, "superseded")):
        age = database_now() - batch.newest.signed_at
        settings.TRANSACTION_TIMEOUT_SECONDS = age.total_seconds() + seconds
        for _ in range(2):  # it is sure when it was so at two looks
            step.shared.read()
            for known in step.claim(1):
                step.done(known, unmined)
        assert RevealBatch.objects.get().status == status


LATE = Review(False, FeeHistory(1_000, ()), [Refusal(1, "Not yet.", "not_minted")])
FINE = Review(False, FeeHistory(1_000, ()))


@pytest.mark.parametrize(
    ("sent", "failures", "is_refused", "status"),
    [
        pytest.param(Sent(refusal="No."), 4, True, "signed", id="refused"),
        pytest.param(Sent(verdict=Verdict.ACCEPTED), 0, False, "broadcast", id="accepted"),
        pytest.param(Sent(verdict=Verdict.NONCE_SPENT), 0, True, "signed", id="nonce spent"),
        pytest.param(Sent(review=LATE), 0, True, "signed", id="held back"),
        pytest.param(Sent(review=replace(FINE, spent=True)), 0, True, "signed", id="mined"),
        # No dearer bytes could be made: these have their chance, as if nothing had been refused.
        pytest.param(Sent(review=FINE), 0, False, "signed", id="irreplaceable"),
    ],
)
def test_what_a_broadcast_leaves_in_the_row(
    sent: Sent, failures: int, is_refused: bool, status: str
) -> None:
    refused = {Doubt.REFUSED: database_now().timestamp() - 9}
    batch = RevealBatchFactory.create(failures=3, doubts=refused, reviewed_at=database_now())
    batch.transactions.update(status="signed", broadcast_at=None)
    step = Send("a drain", Shared())
    step.shared.read()
    (work,) = step.claim(1)
    step.done(replace(work, replaces=sent.review is FINE), sent)
    row = RevealBatch.objects.get()
    assert (row.failures, Doubt.REFUSED in row.doubts) == (failures, is_refused)
    assert row.send_at is not None and row.send_at > database_now()
    assert (row.newest.status, row.newest.error) == (status, sent.refusal)


@pytest.mark.parametrize(
    ("seen", "believes", "goes_on"),
    [
        pytest.param(LATE, False, False, id="perhaps the node lags"),
        pytest.param(LATE, True, True, id="it does not lag"),
        pytest.param(FINE, False, True, id="nothing against it"),
        pytest.param(replace(FINE, spent=True), True, False, id="its nonce is spent"),
    ],
)
def test_bytes_that_may_be_wrong_are_not_broadcast(
    monkeypatch: pytest.MonkeyPatch, seen: Review, believes: bool, goes_on: bool
) -> None:
    RevealBatchFactory.create()
    step = Send("a drain", Shared())
    monkeypatch.setattr("reveals.pipeline.send.review", lambda *asked: seen)
    monkeypatch.setattr("reveals.pipeline.send.broadcast", lambda *sent: Verdict.ACCEPTED)
    step.shared.read()
    (work,) = step.claim(1)
    found = step.call(replace(work, candidates=[], believes=believes))
    assert found.review is seen
    assert found.verdict is (Verdict.ACCEPTED if goes_on else None)
