"""What settled reveals have cost is added up once, in order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from reveals import costs
from reveals.costs import add_up_costs, reveal_totals
from reveals.models import BatchStatus, RevealBatch, RevealTransaction, TransactionStatus
from reveals.tests.factories import RevealBatchFactory, RevealTransactionFactory

pytestmark = pytest.mark.django_db


def batch(*, settled: bool = True, status: str = TransactionStatus.CONFIRMED) -> RevealBatch:
    """Make a closed batch: 2 tokens, 200,000 gas at 10 gwei and 5 wei of L1 fees."""
    now = timezone.now()
    made: RevealBatch = RevealBatchFactory.create(
        status=BatchStatus.CONFIRMED,
        closed_at=now - timedelta(minutes=3),
        settled_at=now if settled else None,
        with_transaction=False,
    )
    mined: dict[str, Any] = {
        "block_number": 1,
        "block_hash": f"0x{made.pk:064x}",
        "gas_used": 200_000,
        "effective_gas_price_wei": 10**10,
        "l1_fee_wei": 5,
    }
    RevealTransactionFactory.create(batch=made, token_ids=[1, 2], status=status, **mined)
    RevealTransactionFactory.create(batch=made, status=TransactionStatus.REPLACED)
    return made


def test_each_settled_batch_counts_once_and_none_before_an_older_one() -> None:
    add_up_costs()
    assert reveal_totals().confirmed == 0
    first = batch()
    assert add_up_costs() > 0
    assert add_up_costs() == 0
    found = reveal_totals()
    assert (found.confirmed, found.reverted, found.tokens) == (1, 0, 2)
    assert (found.gas_used, found.spent_wei) == (200_000, 2 * 10**15 + 5)
    waits = batch(settled=False)
    batch(status=TransactionStatus.REVERTED)
    add_up_costs()
    assert reveal_totals().below == waits.pk == first.pk + 1
    RevealBatch.objects.filter(pk=waits.pk).update(settled_at=timezone.now())
    opened = RevealBatchFactory.create()
    add_up_costs()
    found = reveal_totals()
    assert (found.confirmed, found.reverted, found.tokens) == (2, 1, 4)
    assert (found.gas_used, found.below) == (600_000, opened.pk)


def test_a_long_history_takes_several_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_AT_ONCE", 2)
    for _ in range(5):
        batch()
    RevealTransaction.objects.filter(gas_used__isnull=False).update(gas_used=10**18)
    first = RevealBatch.objects.order_by("pk")[0].pk
    costs.SystemState.put(costs.KEY, vars(costs.RevealTotals(below=first)))
    assert add_up_costs() == 5
    assert reveal_totals().gas_used == 5 * 10**18
