"""How the whole system stands: one reading for everybody who asks.

The dashboard, the health pages, the operations API and `manage.py pipeline_status` read these
facts and differ only in how they show them. Nothing here asks a foreign machine, and nothing
costs more with a million tokens.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, OuterRef, Subquery

from glisk.clock import database_now
from glisk.console.overview.causes import Trouble, find_causes
from glisk.console.overview.stages import Group, StageLoad, groups, stage_loads
from glisk.console.overview.system import ChainFacts, Worker, chain_facts, workers
from glisk.console.overview.troubles import find_troubles
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from tokens.totals import (
    Failures,
    Spend,
    StateCount,
    count_by_state,
    error_rate_24h,
    failures_24h,
    spend_totals,
)

_MOST_BATCHES = 16
_SPENT = ("today_usd", "seven_days_usd", "thirty_days_usd", "all_time_usd", "cap_usd")


@dataclass(frozen=True)
class Overview:
    """The state of the system at one moment."""

    taken_at: datetime
    troubles: list[Trouble]  # first, as for people: what is wrong, and what to do
    tokens: list[StateCount]
    error_rate_24h: float
    failures: list[Failures]
    stages: list[StageLoad]
    groups: list[Group]
    batches: list[dict[str, Any]]  # see open_batches()
    spend: Spend
    workers: list[Worker]
    chain: ChainFacts

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; of the spend the sums in US dollars, by UTC days."""
        troubles = [{"title": each.title, **asdict(each)} for each in self.troubles]
        spend = {name: getattr(self.spend, name) for name in _SPENT}
        return {**asdict(self), "troubles": troubles, "spend": spend}


def take_overview() -> Overview:
    """Return the whole picture; its number of queries does not depend on the size of anything."""
    facts: dict[str, Any] = {
        "groups": groups(),
        "workers": workers(),
        "chain": chain_facts(),
        "failures": failures_24h(),
    }
    return Overview(
        taken_at=database_now(),
        tokens=count_by_state(),
        error_rate_24h=error_rate_24h(),
        stages=stage_loads(facts["groups"]),
        batches=open_batches(),
        spend=spend_totals(),
        troubles=find_troubles(find_causes(), **facts),
        **facts,
    )


def read_troubles() -> list[Trouble]:
    """Return what is wrong, the gravest first; about ten queries, each by an index."""
    return find_troubles(
        find_causes(),
        workers=workers(),
        chain=chain_facts(),
        groups=groups(),
        failures=failures_24h(),
    )


def open_batches() -> list[dict[str, Any]]:
    """Return the batches whose nonce is reserved, in its order, each with its newest transaction.

    One query.
    """
    signed = RevealTransaction.objects.filter(batch=OuterRef("pk")).order_by("-id")
    found = RevealBatch.objects.filter(status=BatchStatus.OPEN).annotate(
        tokens=Count("items", distinct=True),
        number_signed=Count("transactions", distinct=True),
        tx_hash=Subquery(signed.values("tx_hash")[:1]),
        tx_status=Subquery(signed.values("status")[:1]),
    )
    facts = ("id", "nonce", "created_at", "tokens", "number_signed", "tx_hash", "tx_status")
    rows = found.order_by("nonce").values(*facts)[:_MOST_BATCHES]
    return [{**row, "transactions": row.pop("number_signed")} for row in rows]
