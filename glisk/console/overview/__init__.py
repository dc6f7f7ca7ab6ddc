"""How the whole system stands: one reading for everybody who asks.

The dashboard, the health pages, the operations API and `manage.py pipeline_status` read these
facts and differ only in how they show them. Nothing here asks a foreign machine, and nothing
costs more with a million tokens.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Prefetch

from glisk.clock import database_now
from glisk.console.overview.causes import Trouble, find_causes
from glisk.console.overview.stages import Group, StageLoad, groups, stage_loads
from glisk.console.overview.system import ChainFacts, Worker, chain_facts, workers
from glisk.console.overview.troubles import find_troubles
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from tokens.pipeline.spend import spend_totals
from tokens.totals import StateCount, count_by_state, error_rate_24h

_MOST_BATCHES = 16


@dataclass(frozen=True)
class OpenBatch:
    """A batch whose nonce is reserved, with the newest transaction that was signed for it."""

    id: int
    nonce: int
    tokens: int
    created_at: datetime
    transactions: int
    tx_hash: str | None
    tx_status: str | None


@dataclass(frozen=True)
class SpendFacts:
    """US dollars by UTC days, today included; `cap_usd` is None without a daily cap."""

    today_usd: Decimal
    seven_days_usd: Decimal
    thirty_days_usd: Decimal
    all_time_usd: Decimal
    cap_usd: Decimal | None


@dataclass(frozen=True)
class Overview:
    """The state of the system at one moment."""

    taken_at: datetime
    tokens: list[StateCount]
    error_rate_24h: float
    stages: list[StageLoad]
    groups: list[Group]
    batches: list[OpenBatch]
    spend: SpendFacts
    workers: list[Worker]
    obstacles: list[Trouble]  # those of the troubles that hold whole stages back
    chain: ChainFacts
    troubles: list[Trouble]


def take_overview() -> Overview:
    """Return the whole picture; its number of queries does not depend on the size of anything."""
    under_way, alive, chain, found = groups(), workers(), chain_facts(), find_causes()
    spend = spend_totals()
    return Overview(
        taken_at=database_now(),
        tokens=count_by_state(),
        error_rate_24h=error_rate_24h(),
        stages=stage_loads(under_way),
        groups=under_way,
        batches=open_batches(),
        spend=SpendFacts(
            today_usd=spend.today_usd,
            seven_days_usd=spend.seven_days_usd,
            thirty_days_usd=spend.thirty_days_usd,
            all_time_usd=spend.all_time_usd,
            cap_usd=spend.cap_usd,
        ),
        workers=alive,
        obstacles=found,
        chain=chain,
        troubles=find_troubles(workers=alive, chain=chain, groups=under_way, causes=found),
    )


def open_batches() -> list[OpenBatch]:
    """Return the open batches in nonce order; two queries."""
    newest = RevealTransaction.objects.order_by("-id").only("batch_id", "tx_hash", "status")
    found = (
        RevealBatch.objects.filter(status=BatchStatus.OPEN)
        .annotate(size=Count("items"))
        .order_by("nonce")
        .prefetch_related(Prefetch("transactions", queryset=newest, to_attr="newest_first"))
    )
    batches = []
    for batch in found[:_MOST_BATCHES]:
        signed: list[RevealTransaction] = getattr(batch, "newest_first", [])
        last = signed[0] if signed else None
        batches.append(
            OpenBatch(
                id=batch.pk,
                nonce=batch.nonce,
                tokens=getattr(batch, "size", 0),
                created_at=batch.created_at,
                transactions=len(signed),
                tx_hash=last.tx_hash if last else None,
                tx_status=last.status if last else None,
            )
        )
    return batches
