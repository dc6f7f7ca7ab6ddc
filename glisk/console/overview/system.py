"""Workers, what holds work back, and how far the chain has been read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max, Q

from glisk.breaker import BreakerState, Refusal, name_of_breaker
from glisk.clock import database_now, read_moment
from glisk.engine import alarms
from glisk.engine.heartbeat import ALIVE_SECONDS
from glisk.models import SystemState, WorkerHeartbeat
from glisk.rate_limit import LimitState
from reveals.keeper import BLOCKED, EMPTY
from reveals.keeper import KEY as KEEPER_KEY
from tokens.models import ImageGenerationJob
from tokens.pipeline import spend
from tokens.recovery.progress import PROGRESS_KEY, Progress

_MOST_WORKERS = 32
# The chain is looked at every POLL_INTERVAL_SECONDS; so many missed looks are no accident.
_MISSED_LOOKS = 6
_SHORTEST_PATIENCE_SECONDS = 60
_LIMIT_IS_NEWS = timedelta(seconds=60)
_LIMITS = {
    "replicate": "REPLICATE_PREDICTIONS_PER_MINUTE",
    "pinata": "PINATA_REQUESTS_PER_MINUTE",
}


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
class Obstacle:
    """A pause of a stage, an open breaker, a rate limit, an alarm, a keeper that cannot reveal.

    `kind`: pause, breaker, limit, alarm, keeper. Alarms bring their own words and the stages that
    they hold back (glisk.engine.alarms), limits their own words.
    """

    key: str
    kind: str
    subject: str
    reason: str
    since: datetime
    retry_at: datetime | None
    refusal: Refusal = field(default_factory=Refusal)
    headline: str = ""
    advice: str = ""
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChainFacts:
    """How far the chain has been read, as the worker last stored it.

    `blocks_behind` is as of `read_at`: with `is_fresh` False nobody knows how many there are.
    """

    chain_id: int
    last_processed_block: int | None
    newest_block: int | None
    blocks_behind: int | None
    read_at: datetime | None
    is_fresh: bool


def workers() -> list[Worker]:
    """Return the workers of the last minutes; a silent one is shown as such."""
    since = database_now() - timedelta(seconds=ALIVE_SECONDS)
    found = WorkerHeartbeat.objects.order_by("stage", "started_at", "owner")
    return [
        Worker(
            owner=row.owner,
            stage=row.stage,
            alive=row.beat_at >= since,
            in_flight=row.in_flight,
            started_at=row.started_at,
            beat_at=row.beat_at,
            last_progress_at=row.last_progress_at,
        )
        for row in found[:_MOST_WORKERS]
    ]


def obstacles() -> list[Obstacle]:
    """Return what holds work back: pauses, breakers, limits, alarms, the keeper, the daily cap."""
    keys = Q(pk=KEEPER_KEY)
    for kind in _READERS:
        keys |= Q(state_key__startswith=f"{kind}:")
    rows = SystemState.objects.filter(keys).order_by("state_key")
    read = [_READERS[row.state_key.partition(":")[0]](row) for row in rows]
    found = [obstacle for obstacle in read if obstacle is not None]
    capped = spend.cap_reason()
    if capped:
        midnight = timedelta(seconds=spend.seconds_until_midnight())
        since = ImageGenerationJob.objects.aggregate(last=Max("created_at"))["last"]
        found.append(
            Obstacle(
                key="cap:generation",
                kind="pause",
                subject="generation",
                reason=capped,
                since=since or database_now(),
                retry_at=database_now() + midnight,
            )
        )
    return found


def _pause(state: SystemState) -> Obstacle:
    kind, _, subject = state.state_key.partition(":")
    value = _value(state)
    return Obstacle(
        key=state.state_key,
        kind=kind,
        subject=subject,
        reason=str(value.get("reason", "")),
        since=read_moment(value.get("since")) or state.updated_at,
        retry_at=read_moment(value.get("retry_at")),
    )


def _breaker(state: SystemState) -> Obstacle | None:
    breaker = BreakerState.parse(_value(state))
    return replace(_pause(state), refusal=breaker.refusal) if breaker.state == "open" else None


def _keeper(state: SystemState) -> Obstacle | None:
    if _value(state).get("status") not in (EMPTY, BLOCKED):
        return None
    found = _pause(state)
    return replace(found, refusal=Refusal(text=found.reason))


def _limit(state: SystemState) -> Obstacle | None:
    """Return a vendor's rate limit that was met in the last minute, or is all but used up."""
    limit, now = LimitState.parse(state.state_value), database_now()
    vendor, since = state.state_key.partition(":")[2], now - _LIMIT_IS_NEWS
    until = datetime.fromtimestamp(limit.until, UTC)
    if until >= since:
        pace = limit.limit_at(now.timestamp())
        return Obstacle(
            key=state.state_key,
            kind="limit",
            subject=vendor,
            headline=f"{name_of_breaker(vendor)} limits the rate of calls",
            reason=f"{limit.reason.partition(' | ')[0]}"
            + (f" About {pace:.0f} calls a minute are made." if pace else ""),
            since=datetime.fromtimestamp(limit.refused_at, UTC),
            retry_at=until if until > now else None,
            refusal=Refusal(status=429),
        )
    variable = _LIMITS.get(vendor, "")
    allowed = getattr(settings, variable) if variable else 0
    recent = {int(s): n for s, n in limit.calls.items() if int(s) >= since.timestamp()}
    if not allowed or sum(recent.values()) < allowed - 1:  # some calls need two
        return None
    return Obstacle(
        key=state.state_key,
        kind="limit",
        subject=vendor,
        headline=f"{name_of_breaker(vendor)}'s calls are limited by the settings",
        reason=f"The {allowed:,} calls a minute of {variable} are used up.",
        advice=f"Nothing; or raise {variable} (0: the limit is found) and restart the workers.",
        since=datetime.fromtimestamp(min(recent), UTC),
        retry_at=None,
    )


def _alarm(state: SystemState) -> Obstacle | None:
    alarm = alarms.read_alarm(state)
    if alarm is None:
        return None
    return Obstacle(
        key=state.state_key,
        kind="alarm",
        subject=alarm.name,
        reason=alarm.reason,
        since=alarm.since,
        retry_at=None,
        headline=alarm.headline,
        advice=alarm.advice,
        stages=alarm.stages,
    )


def _value(state: SystemState) -> dict[str, Any]:
    return state.state_value if isinstance(state.state_value, dict) else {}


_READERS: dict[str, Callable[[SystemState], Obstacle | None]] = {
    "pause": _pause,
    "breaker": _breaker,
    "limit": _limit,
    "alarm": _alarm,
    KEEPER_KEY: _keeper,
}


def chain_facts() -> ChainFacts:
    """Return what the workers last knew of the chain; one query, no request to any node."""
    row = SystemState.objects.filter(pk=PROGRESS_KEY).first()
    value = row.state_value if row and isinstance(row.state_value, dict) else {}
    progress = Progress.parse(value)
    patience = max(_SHORTEST_PATIENCE_SECONDS, _MISSED_LOOKS * settings.POLL_INTERVAL_SECONDS)
    read_at = row.updated_at if row else None
    behind = None
    if progress.block is not None and progress.head is not None:
        behind = max(0, progress.head - progress.block)
    return ChainFacts(
        chain_id=settings.CHAIN_ID,
        last_processed_block=progress.block,
        newest_block=progress.head,
        blocks_behind=behind,
        read_at=read_at,
        is_fresh=read_at is not None and database_now() - read_at <= timedelta(seconds=patience),
    )
