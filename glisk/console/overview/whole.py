"""Everything at once, for whoever shows the whole picture."""

from dataclasses import dataclass
from datetime import datetime

from glisk.clock import database_now
from glisk.console.overview.reveals import OpenBatch, open_batches
from glisk.console.overview.spend import SpendFacts, spend_facts
from glisk.console.overview.stages import Group, StageLoad, groups, stage_loads
from glisk.console.overview.system import (
    ChainFacts,
    Obstacle,
    Worker,
    chain_facts,
    obstacles,
    workers,
)
from tokens.totals import StateCount, count_by_state, error_rate_24h


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
    obstacles: list[Obstacle]
    chain: ChainFacts


def take_overview() -> Overview:
    """Return the whole picture; twelve queries, whatever the size."""
    under_way = groups()
    return Overview(
        taken_at=database_now(),
        tokens=count_by_state(),
        error_rate_24h=error_rate_24h(),
        stages=stage_loads(under_way),
        groups=under_way,
        batches=open_batches(),
        spend=spend_facts(),
        workers=workers(),
        obstacles=obstacles(),
        chain=chain_facts(),
    )
