"""Running totals of what reveals have cost on chain, of batches that no reorg reaches any more.

The table grows for ever: each batch is added up once, in the order of their ids, when it is
settled, and so are all before it. Totals only grow.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from django.db import connection, transaction

from glisk.engine.schedules import in_portions
from glisk.models import SystemState

KEY: Final = "reveal_costs"
_AT_ONCE: Final = 2_000
_BUDGET_SECONDS: Final = 20.0
# One drain in all makes batches, one after the other; what it made a minute ago is committed.
_SETTLED_BELOW = """
    SELECT LEAST(
        (SELECT min(id) FROM reveal_batches WHERE status = 'open'),
        (SELECT min(id) FROM reveal_batches WHERE closed_at IS NOT NULL AND settled_at IS NULL),
        (SELECT max(id) + 1 FROM reveal_batches))
"""
_ADD_UP = """
    SELECT count(*) FILTER (WHERE t.status = 'confirmed'),
           count(*) FILTER (WHERE t.status = 'reverted'),
           COALESCE(sum(cardinality(t.token_ids)) FILTER (WHERE t.status = 'confirmed'), 0),
           COALESCE(sum(t.gas_used), 0),
           COALESCE(sum(t.gas_used * t.effective_gas_price_wei + COALESCE(t.l1_fee_wei, 0)), 0)
    FROM reveal_batches b JOIN reveal_transactions t ON t.batch_id = b.id
    WHERE b.id >= %s AND b.id < %s AND t.status IN ('confirmed', 'reverted')
"""


@dataclass
class RevealTotals:
    """Of all batches with an id below `below`; gas and wei are those of reverted ones, too."""

    below: int = 0
    confirmed: int = 0
    reverted: int = 0
    tokens: int = 0
    gas_used: int = 0
    spent_wei: int = 0


def reveal_totals() -> RevealTotals:
    """Return what was added up so far; one query."""
    row = SystemState.objects.filter(pk=KEY).values_list("state_value", flat=True).first()
    return RevealTotals(**(row or {}))


def add_up_costs() -> int:
    """Add what is settled to the totals; return how many batches it was."""
    return in_portions(_add_portion, at_once=_AT_ONCE, budget_seconds=_BUDGET_SECONDS)


def _add_portion(at_once: int) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        was = RevealTotals(**SystemState.locked(KEY))
        cursor.execute(_SETTLED_BELOW)
        below = min(cursor.fetchone()[0] or 0, was.below + at_once)
        if below <= was.below:
            return 0
        cursor.execute(_ADD_UP, [was.below, below])
        found = RevealTotals(below - was.below, *map(int, cursor.fetchone()))
        total = {name: value + getattr(was, name) for name, value in asdict(found).items()}
        SystemState.put(KEY, total)
        return found.below
