"""After a reveal it is read back from the chain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from glisk.clients.chain import ChainClient
from glisk.engine.step import Done
from reveals.models import RevealTransaction
from reveals.outbox import Shared
from reveals.pipeline import after
from reveals.tests.stage import Scene, are_read_back, drift, reveal, transactions
from tokens.recovery.drift import last_report
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db


@pytest.mark.fast
def test_reveals_are_read_back_once_in_a_constant_number_of_round_trips(
    worker: Start, scene: Scene, settings: Settings
) -> None:
    settings.BATCH_REVEAL_MAX_TOKENS = 2
    drain, _ = reveal(worker, scene, 6)
    drain.until(are_read_back)
    assert drift() == []
    RevealTransaction.objects.update(read_back_at=None)
    step = after.ReadBack("test", Shared())
    (work,) = step.claim(1)
    assert len(work) == 3
    step.settle([Done(work, step.call(work))], [])
    assert step.chain.requests == 2
    assert are_read_back()


def test_another_uri_than_ours_is_drift(worker: Start, scene: Scene) -> None:
    drain, (good, bad) = reveal(worker, scene, 2)
    drain.until(are_read_back)
    row = transactions()[0]
    row.metadata_uris[row.token_ids.index(bad.pk)] = "ipfs://" + "Q" * 46
    row.read_back_at = None
    row.save()
    drain.until(are_read_back)
    assert drift() == [("uri_differs", bad.pk)]
    assert f"{good.token_uri}"[:7] in last_report().findings[0].detail


def test_an_event_that_does_not_name_a_token_is_drift(
    worker: Start, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = ChainClient.receipts

    def shortened(self: ChainClient, tx_hashes: Any) -> Any:
        found = receipts(self, tx_hashes)
        for receipt in found.values():
            if receipt is not None:
                first = int(receipt.logs[0]["data"][-128:-64], 16)
                receipt.logs[0]["data"] = f"0x{32:064x}{1:064x}{first:064x}"
        return found

    monkeypatch.setattr(ChainClient, "receipts", shortened)
    drain, (_, other) = reveal(worker, scene, 2)
    drain.until(are_read_back)
    assert drift() == [("uri_differs", other.pk)]
    assert "does not name it" in last_report().findings[0].detail


def test_a_node_that_does_not_show_it_yet_is_asked_again(
    worker: Start, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    drain, _ = reveal(worker, scene, 2)
    drain.until(are_read_back)
    right = RevealTransaction.objects.get().tx_hash
    RevealTransaction.objects.update(tx_hash="0x" + "ab" * 32, read_back_at=None)
    drain.settle(0.2)
    assert not are_read_back()
    assert "reveal_not_shown" not in caplog.text
    RevealTransaction.objects.update(confirmed_at=timezone.now() - timedelta(minutes=5))
    drain.until(lambda: "reveal_not_shown" in caplog.text)
    RevealTransaction.objects.update(tx_hash=right)
    drain.until(are_read_back)
