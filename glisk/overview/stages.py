"""What waits and what moves in each stage."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, Min, OuterRef, Q

from reveals.models import RevealBatchToken
from tokens.models import Token
from tokens.states import ACTIVE, TokenStatus

_STAGES = {
    "generation": (TokenStatus.DETECTED, TokenStatus.GENERATING),
    "upload": (TokenStatus.UPLOADING,),
    "reveal": (TokenStatus.READY,),
}


@dataclass(frozen=True)
class StageLoad:
    """Tokens that wait in a stage, tokens in work, and since when the oldest is in its state."""

    stage: str
    pending: int
    active: int
    oldest_at: datetime | None


def stage_loads() -> list[StageLoad]:
    """Return every stage in a token's order; one query."""
    in_batch = Exists(RevealBatchToken.objects.filter(token=OuterRef("pk"), is_open=True))
    in_work = Q(lease_owner__isnull=False) | Q(in_batch)
    rows = (
        Token.objects.filter(status__in=ACTIVE)
        .values("status")
        .annotate(
            total=Count("pk"), active=Count("pk", filter=in_work), oldest=Min("status_changed_at")
        )
        .order_by()
    )
    by_status = {row["status"]: row for row in rows}
    loads = []
    for stage, statuses in _STAGES.items():
        found = [by_status[status] for status in statuses if status in by_status]
        active = sum(row["active"] for row in found)
        pending = sum(row["total"] for row in found) - active
        oldest = min((row["oldest"] for row in found), default=None)
        loads.append(StageLoad(stage, pending, active, oldest))
    return loads
