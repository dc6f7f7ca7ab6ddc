"""An operator has a transaction replaced now: same nonce, higher fees, once, within the ceiling."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from glisk.permissions import SPEED_UP
from glisk.tests.admin_actions import action_page, audit, confirmation, give, operator, send
from reveals.by_hand import request_replacement
from reveals.models import RevealBatch, RevealTransaction
from reveals.tests.stage import Scene, in_the_pool, reveal, statuses, transactions
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db
BATCHES = "reveals_revealbatch"


def test_a_waiting_transaction_is_replaced_at_once(
    worker: Start, scene: Scene, settings: Settings, client: Client
) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 3600
    drain, tokens = in_the_pool(worker, scene, 2)
    (old,) = transactions()

    operator(client, "reveals.view_revealbatch", SPEED_UP)
    form, text = confirmation(client, BATCHES, "speed_up", old.batch_id)
    assert "At the very most" in text
    said = send(client, BATCHES, "speed_up", form)
    assert len(said.done) == 1
    assert audit(BATCHES)[0][0] == str(old.batch_id)
    again = send(client, BATCHES, "speed_up", form)
    assert "asked for already" in again.skipped[0]
    assert (
        "requested already, by operator maria"
        in give(client, BATCHES, "speed_up", old.batch_id).skipped[0]
    )

    drain.until(lambda: len(transactions()) == 2)
    drain.until(lambda: transactions()[1].broadcast_at is not None)
    drain.settle(0.5)
    new = transactions()[1]
    assert len(transactions()) == 2  # once
    assert (new.replaces_id, new.nonce, new.token_ids) == (old.pk, old.nonce, old.token_ids)
    assert int(new.max_fee_per_gas_wei) * 8 >= int(old.max_fee_per_gas_wei) * 9
    batch = RevealBatch.objects.get()
    assert (batch.replace_at, batch.replace_by) == (None, "")
    scene.chain.set_automine(True)
    scene.chain.rpc("evm_mine")
    drain.until(lambda: scene.revealed_once(tokens))
    assert statuses() == ["replaced", "confirmed"]


def test_the_ceiling_leaves_no_room(worker: Start, scene: Scene, settings: Settings) -> None:
    settings.TRANSACTION_TIMEOUT_SECONDS = 3600
    drain, _ = in_the_pool(worker, scene)
    (row,) = transactions()
    offered = int(row.max_fee_per_gas_wei)
    settings.REVEAL_MAX_GAS_PRICE_GWEI = offered * 1.1 / 1e9
    (result,) = request_replacement(batch_ids=[row.batch_id], actor="maria")
    assert not result.done
    assert "leaves no room" in result.message
    # Asked for while there was room, and then there is none: it is given up, not tried for ever.
    settings.REVEAL_MAX_GAS_PRICE_GWEI = 1000
    assert request_replacement(batch_ids=[row.batch_id], actor="maria")[0].done
    settings.REVEAL_MAX_GAS_PRICE_GWEI = offered * 1.1 / 1e9
    drain.until(lambda: RevealBatch.objects.get().replace_at is None)
    assert len(transactions()) == 1


def test_only_what_is_under_way_is_sped_up(scene: Scene, client: Client, worker: Start) -> None:
    reveal(worker, scene)
    batch = RevealBatch.objects.get()
    results = request_replacement(batch_ids=[batch.pk, batch.pk + 1], actor="maria")
    assert [result.done for result in results] == [False, False]
    assert "it is confirmed" in results[0].message
    RevealBatch.objects.update(status="open")
    RevealTransaction.objects.update(broadcast_at=None)
    (result,) = request_replacement(batch_ids=[batch.pk], actor="maria")
    assert "sent again within seconds" in result.message
    operator(client, "reveals.view_revealbatch", "reveals.reveal_now")
    form = {"keys": str(batch.pk), "once": "1"}
    assert client.post(action_page(BATCHES, "speed_up"), form).status_code == 403
