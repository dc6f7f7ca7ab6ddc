"""The workers, and how far the chain has been read."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from glisk.admin.formatting import duration
from glisk.clock import database_now
from glisk.engine.heartbeat import ALIVE_SECONDS
from glisk.management.base import counted
from glisk.models import SystemState, WorkerHeartbeat
from tokens.recovery.progress import PROGRESS_KEY, Progress

_MOST_WORKERS = 32
# The chain is looked at every POLL_INTERVAL_SECONDS; so many missed looks are no accident.
_MISSED_LOOKS = 6
_SHORTEST_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Worker:
    """What one drain or supervisor last said of itself."""

    owner: str
    stage: str
    alive: bool
    in_flight: int
    started_at: datetime
    beat_at: datetime
    last_progress_at: datetime | None


@dataclass(frozen=True)
class ChainFacts:
    """How far the chain has been read, as the worker last stored it.

    `blocks_behind` is as of `read_at`: with `is_fresh` False nobody knows how many there are.
    """

    chain_id: int
    last_processed_block: int | None = None
    newest_block: int | None = None
    blocks_behind: int | None = None
    read_at: datetime | None = None
    is_fresh: bool = False

    def pace(self, now: datetime) -> str:
        """Return how far behind the reading is, in words."""
        if self.read_at is None or self.last_processed_block is None:
            return "nothing read from the chain yet"
        ago = duration((now - self.read_at).total_seconds())
        return f"{counted(self.blocks_behind or 0, 'block')} behind, read {ago} ago"


def workers() -> list[Worker]:
    """Return the workers of the last minutes; a silent one is shown as such."""
    since = database_now() - timedelta(seconds=ALIVE_SECONDS)
    facts = ("owner", "stage", "in_flight", "started_at", "beat_at", "last_progress_at")
    found = WorkerHeartbeat.objects.order_by("stage", "started_at", "owner").values(*facts)
    return [Worker(**row, alive=row["beat_at"] >= since) for row in found[:_MOST_WORKERS]]


def chain_facts() -> ChainFacts:
    """Return what the workers last knew of the chain; one query, no request to any node."""
    row = SystemState.objects.filter(pk=PROGRESS_KEY).first()
    if row is None or not isinstance(row.state_value, dict):
        return ChainFacts(settings.CHAIN_ID)
    read = Progress.parse(row.state_value)
    patience = max(_SHORTEST_PATIENCE_SECONDS, _MISSED_LOOKS * settings.POLL_INTERVAL_SECONDS)
    behind = None
    if read.block is not None and read.head is not None:
        behind = max(0, read.head - read.block)
    return ChainFacts(
        chain_id=settings.CHAIN_ID,
        last_processed_block=read.block,
        newest_block=read.head,
        blocks_behind=behind,
        read_at=row.updated_at,
        is_fresh=database_now() - row.updated_at <= timedelta(seconds=patience),
    )
