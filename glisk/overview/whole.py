"""Everything at once, for whoever shows the whole picture."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from glisk.overview.reveals import OpenBatch, open_batches
from glisk.overview.spend import SpendFacts, spend_facts
from glisk.overview.stages import StageLoad, stage_loads
from glisk.overview.system import (
    ChainFacts,
    Obstacle,
    Worker,
    chain_facts,
    obstacles,
    workers,
)
from glisk.refused_webhooks import RefusedWebhooks, refused_webhooks
from tokens.totals import StateCount, count_by_state, error_rate_24h


@dataclass(frozen=True)
class Overview:
    """The state of the system at one moment."""

    taken_at: datetime
    tokens: list[StateCount]
    error_rate_24h: float
    stages: list[StageLoad]
    batches: list[OpenBatch]
    spend: SpendFacts
    workers: list[Worker]
    obstacles: list[Obstacle]
    refused_webhooks: list[RefusedWebhooks]
    chain: ChainFacts


def take_overview() -> Overview:
    """Return the whole picture; twelve queries, whatever the size."""
    return Overview(
        taken_at=timezone.now(),
        tokens=count_by_state(),
        error_rate_24h=error_rate_24h(),
        stages=stage_loads(),
        batches=open_batches(),
        spend=spend_facts(),
        workers=workers(),
        obstacles=obstacles(),
        refused_webhooks=refused_webhooks(),
        chain=chain_facts(),
    )
