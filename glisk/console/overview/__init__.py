"""How the whole system stands: one set of questions for everybody who asks.

The dashboard, the health pages, the operations API and `manage.py pipeline_status` read these
facts and differ only in how they show them. Nothing here asks a foreign machine, and nothing
costs more with a million tokens.
"""

from glisk.console.overview.pace import Hour, LastDay, last_day
from glisk.console.overview.reveals import OpenBatch, open_batches
from glisk.console.overview.spend import SpendFacts, spend_facts
from glisk.console.overview.stages import StageLoad, stage_loads
from glisk.console.overview.system import (
    ALIVE_SECONDS,
    ChainFacts,
    Obstacle,
    Worker,
    chain_facts,
    obstacles,
    workers,
)
from glisk.console.overview.whole import Overview, take_overview

__all__ = [
    "ALIVE_SECONDS",
    "ChainFacts",
    "Hour",
    "LastDay",
    "Obstacle",
    "OpenBatch",
    "Overview",
    "SpendFacts",
    "StageLoad",
    "Worker",
    "chain_facts",
    "last_day",
    "obstacles",
    "open_batches",
    "spend_facts",
    "stage_loads",
    "take_overview",
    "workers",
]
