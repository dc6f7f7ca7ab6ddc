"""What holds whole stages back, as rows say it: pauses, breakers, limits, alarms, the keeper.

And whether Alchemy's webhooks still come: mints that only the chain told of say no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max, Q

from glisk.breaker import BreakerState, VendorRefusal, headline_for_breaker, name_of_breaker
from glisk.clock import database_now, read_moment
from glisk.console.advice import advice_for_breaker, reason_for_breaker
from glisk.engine import heartbeat
from glisk.management.base import counted
from glisk.models import SystemState
from glisk.pauses import STAGES
from glisk.rate_limit import LimitState
from glisk.timing import timing
from reveals.keeper import BLOCKED, EMPTY
from reveals.keeper import KEY as KEEPER_KEY
from tokens.models import ImageGenerationJob, MintEvent
from tokens.models.mint import MintSource
from tokens.pipeline.image_vendors import cap_reason, seconds_until_midnight
from webhooks.models import WebhookEvent

_NEWS = timedelta(hours=24)  # older mints are history that was read, or long known
_MOST_MINTS = 1000
_LIMIT_IS_NEWS = timedelta(seconds=60)
_LIMITS = {
    "replicate": "REPLICATE_PREDICTIONS_PER_MINUTE",
    "pinata": "PINATA_REQUESTS_PER_MINUTE",
}
# The stages that wait for a vendor.
_BREAKERS = {
    "replicate": ("generation",),
    "replicate_reads": ("generation",),
    "selfhosted": ("generation",),
    "pinata": ("upload",),
    "gateway": ("reveal",),
    "chain": ("reveal",),
}


@dataclass(frozen=True)
class Trouble:
    """One fault; `tokens` wait for it, in `stages`, or have failed by it. `url` lists them.

    `kind`: worker, chain, pause, breaker, limit, keeper, alarm, tokens (no progress), held, failed,
    webhook.
    """

    key: str
    kind: str
    headline: str
    reason: str = ""
    advice: str = ""
    since: datetime | None = None
    retry_at: datetime | None = None
    stages: tuple[str, ...] = ()
    tokens: int = 0
    url: str = ""

    @property
    def name(self) -> str:
        """What it is about, in a word."""
        return self.key.partition(":")[2] or self.key

    @property
    def keeps_waiting(self) -> bool:
        """Whether the headline leaves out that tokens wait for it."""
        return self.kind not in ("tokens", "held", "failed") and self.tokens > 0


def find_causes() -> list[Trouble]:
    """Return what holds work back: pauses, breakers, limits, alarms, the keeper, the daily cap."""
    keys = Q(pk=KEEPER_KEY)
    for kind in _READERS:
        keys |= Q(state_key__startswith=f"{kind}:")
    rows = SystemState.objects.filter(keys).order_by("state_key")
    read = [_READERS[row.state_key.partition(":")[0]](row) for row in rows]
    found = [cause for cause in read if cause is not None]
    if capped := cap_reason():
        since = ImageGenerationJob.objects.aggregate(last=Max("created_at"))["last"]
        midnight = database_now() + timedelta(seconds=seconds_until_midnight())
        found.append(
            _paused("cap:generation", capped, since=since or database_now(), retry_at=midnight)
        )
    return found


def _paused(key: str, reason: str, *, since: datetime, retry_at: datetime | None) -> Trouble:
    stage = key.partition(":")[2]
    return Trouble(
        key,
        "pause",
        f"{stage.capitalize()} is paused",
        reason,
        since=since,
        retry_at=retry_at,
        stages=(stage,) if stage in STAGES else (),
    )


def _pause(state: SystemState) -> Trouble:
    reason = str(_value(state).get("reason", ""))
    return _paused(state.state_key, reason, since=_since(state), retry_at=_retry_at(state))


def _breaker(state: SystemState) -> Trouble | None:
    breaker = BreakerState.parse(_value(state))
    if breaker.state != "open":
        return None
    vendor = state.state_key.partition(":")[2]
    return _not_called(state, "breaker", vendor, breaker.reason, breaker.refusal)


def _keeper(state: SystemState) -> Trouble | None:
    if _value(state).get("status") not in (EMPTY, BLOCKED):
        return None
    reason = str(_value(state).get("reason", ""))
    return _not_called(state, "keeper", "chain", reason, VendorRefusal(text=reason))


def _not_called(
    state: SystemState, kind: str, vendor: str, reason: str, refusal: VendorRefusal
) -> Trouble:
    return Trouble(
        state.state_key,
        kind,
        headline_for_breaker(vendor),
        reason_for_breaker(vendor, reason),
        advice_for_breaker(vendor, refusal),
        since=_since(state),
        retry_at=_retry_at(state),
        stages=_BREAKERS.get(vendor, ()),
    )


def _limit(state: SystemState) -> Trouble | None:
    """Return a vendor's rate limit that was met in the last minute, or is all but used up."""
    limit, now = LimitState.parse(state.state_value), database_now()
    vendor, since = state.state_key.partition(":")[2], now - _LIMIT_IS_NEWS
    until = datetime.fromtimestamp(limit.until, UTC)
    if until >= since:
        pace = limit.limit_at(now.timestamp())
        words = f" About {pace:.0f} calls a minute are made." if pace else ""
        return Trouble(
            state.state_key,
            "limit",
            f"{name_of_breaker(vendor)} limits the rate of calls",
            reason_for_breaker(vendor, limit.reason) + words,
            advice_for_breaker(vendor, VendorRefusal(status=429)),
            since=datetime.fromtimestamp(limit.refused_at, UTC),
            retry_at=until if until > now else None,
            stages=_BREAKERS.get(vendor, ()),
        )
    variable = _LIMITS.get(vendor, "")
    allowed = getattr(settings, variable) if variable else 0
    recent = {int(s): n for s, n in limit.calls.items() if int(s) >= since.timestamp()}
    if not allowed or sum(recent.values()) < allowed - 1:  # some calls need two
        return None
    return Trouble(
        state.state_key,
        "limit",
        f"{name_of_breaker(vendor)}'s calls are limited by the settings",
        f"The {allowed:,} calls a minute of {variable} are used up.",
        f"Nothing; or raise {variable} (0: the limit is found) and restart the workers.",
        since=datetime.fromtimestamp(min(recent), UTC),
        stages=_BREAKERS.get(vendor, ()),
    )


def _alarm(state: SystemState) -> Trouble | None:
    alarm = heartbeat.read_alarm(state)
    if alarm is None:
        return None
    return Trouble(
        state.state_key,
        "alarm",
        alarm.headline,
        alarm.reason,
        alarm.advice,
        since=alarm.since,
        stages=alarm.stages,
    )


def _value(state: SystemState) -> dict[str, Any]:
    return state.state_value if isinstance(state.state_value, dict) else {}


def _since(state: SystemState) -> datetime:
    return read_moment(_value(state).get("since")) or state.updated_at


def _retry_at(state: SystemState) -> datetime | None:
    return read_moment(_value(state).get("retry_at"))


_READERS: dict[str, Callable[[SystemState], Trouble | None]] = {
    "pause": _pause,
    "breaker": _breaker,
    "limit": _limit,
    "alarm": _alarm,
    KEEPER_KEY: _keeper,
}


def missing_webhooks() -> Trouble | None:
    """Return what came from the chain without a webhook, or None; two queries, each by an index.

    Nobody misses a webhook where none is set up: then the endpoint has no key.
    """
    if not any(settings.ALCHEMY_WEBHOOK_SECRETS):
        return None
    now = database_now()
    newest = (
        MintEvent.objects.filter(source=MintSource.BACKFILL)
        .order_by("-block_number", "-log_index")
        .values_list("block_timestamp", flat=True)[:_MOST_MINTS]
    )
    missed = [minted_at for minted_at in newest if minted_at > now - _NEWS]
    if not missed:
        return None
    events = WebhookEvent.objects.order_by("-received_at")
    last = events.values_list("received_at", flat=True).first()
    missed = [minted_at for minted_at in missed if last is None or minted_at > last]
    if not missed or now - missed[-1] < timedelta(seconds=timing.webhook_late_after):
        return None
    more = " or more" if len(missed) == _MOST_MINTS else ""
    return Trouble(
        "webhooks",
        "webhook",
        f"No webhook since {last:%d %b %H:%M} UTC" if last else "No webhook has ever come",
        f"{counted(len(missed), 'mint')}{more} came from the chain.",
        "Look at the webhook's page at Alchemy: is it active, and does its address lead here? "
        "Mints are read from the chain meanwhile, some seconds later.",
        since=missed[-1],
    )
