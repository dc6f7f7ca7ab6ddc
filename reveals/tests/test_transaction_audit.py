"""Transactions compared with the chain by hand: entered, corrected, or watched again."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.utils import timezone

from glisk.clients.chain import ChainClient
from reveals.models import RevealBatch
from reveals.reconcile import Found, compare_transactions
from reveals.tests.stage import Scene, in_the_pool, reveal, statuses, transactions
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


def compare() -> dict[str, Found]:
    return compare_transactions(ChainClient.from_settings(), actor="operator")


def test_what_was_mined_while_no_worker_ran_is_entered_and_told(
    worker: Start, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    drain, tokens = in_the_pool(worker, scene, 2)
    drain.crash()
    (tx_hash,) = scene.pool()
    assert compare() == {tx_hash: Found.PENDING}
    scene.chain.mine()
    call_command("reconcile_reveals")
    said = capsys.readouterr().out
    assert "1 transaction compared" in said
    assert f"1 mined, noted now: {tx_hash}" in said
    assert scene.revealed_once(tokens)
    assert compare() == {tx_hash: Found.AS_NOTED}


def test_what_a_reorg_took_back_is_left_to_the_worker(worker: Start, scene: Scene) -> None:
    drain, tokens = reveal(worker, scene, blocks=2)
    drain.crash()
    RevealBatch.objects.update(settled_at=timezone.now())
    scene.chain.reorg(1)
    (row,) = transactions()
    assert compare() == {row.tx_hash: Found.DOUBTFUL}
    assert statuses() == ["confirmed"]
    worker().until(lambda: scene.chain.is_revealed(tokens[0].token_id))
