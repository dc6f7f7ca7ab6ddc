"""The last day by the hour: what was minted and revealed, and how long a reveal took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Count, F, FloatField, QuerySet
from django.db.models.functions import Extract, TruncHour

from glisk.api.short_memory import ShortMemory
from glisk.clock import database_now
from tokens.models import Token
from tokens.states import TokenStatus

HOURS = 24
REMEMBERED_SECONDS = 10.0


@dataclass(frozen=True)
class Hour:
    """One hour (UTC); the times from mint to reveal are those of its reveals, in seconds."""

    begins_at: datetime
    minted: int = 0
    revealed: int = 0
    p50_seconds: float | None = None
    p95_seconds: float | None = None


@dataclass(frozen=True)
class LastDay:
    """The last 24 hours, the one that runs included."""

    hours: list[Hour]
    p50_seconds: float | None
    p95_seconds: float | None

    @property
    def revealed(self) -> int:
        return sum(hour.revealed for hour in self.hours)


class _Percentile(Aggregate):
    function = "PERCENTILE_CONT"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()


_PACE = {
    name: _Percentile(Extract(F("revealed_at") - F("mint_timestamp"), "epoch"), share=share)
    for name, share in (("p50_seconds", 0.5), ("p95_seconds", 0.95))
}
_memory: ShortMemory[LastDay] = ShortMemory(seconds=REMEMBERED_SECONDS)


def last_day() -> LastDay:
    """Return the last day; three queries, or none if somebody asked some seconds ago."""
    return _memory.get("day", _read)


def _read() -> LastDay:
    first = database_now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=HOURS - 1)
    # Each is a range of an index: token_status_minted, token_ended.
    minted = Token.objects.filter(status__in=list(TokenStatus), mint_timestamp__gte=first)
    revealed = Token.objects.filter(status=TokenStatus.REVEALED, status_changed_at__gte=first)
    mints = _by_hour(minted, "mint_timestamp", minted=Count("pk"))
    reveals = _by_hour(revealed, "status_changed_at", revealed=Count("pk"), **_PACE)
    hours = [
        Hour(begins_at, **mints.get(begins_at, {}), **reveals.get(begins_at, {}))
        for begins_at in (first + timedelta(hours=number) for number in range(HOURS))
    ]
    return LastDay(hours, **revealed.aggregate(**_PACE))


def _by_hour(tokens: QuerySet, moment: str, **found: Aggregate) -> dict[datetime, dict[str, Any]]:
    rows = tokens.order_by().values(hour=TruncHour(moment, tzinfo=UTC)).annotate(**found)
    return {row.pop("hour"): row for row in rows}
