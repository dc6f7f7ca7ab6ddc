"""What holds whole stages back, as rows say it: pauses, breakers, limits, alarms, the keeper.

And whether Alchemy's webhooks still come: mints that only the chain told of say no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Max, Q

from glisk.admin.audit import said_by
from glisk.breaker import BreakerState, headline_for_breaker, name_of_breaker
from glisk.clock import database_now, read_moment
from glisk.console.advice import (
    GAS_PROBLEM,
    KEEPER_PROBLEMS,
    NODE_PROBLEMS,
    advice_for_breaker,
    headline_with_problem,
    problem_of_breaker,
)
from glisk.engine.heartbeat import read_alarm
from glisk.management.base import counted
from glisk.models import SystemState
from glisk.pauses import SPEND_GUARD, STAGE_LABELS, STAGES
from glisk.rate_limit import LimitState
from glisk.timing import timing
from reveals.keeper import BLOCKED, EMPTY, LOW
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
    "signer": ("reveal",),
}

PAGE, WARN = "page", "warn"  # it needs a person tonight; it can wait
# Each kind of trouble has a level here, and an entry in docs/runbook.md.
LEVELS = {
    "worker": PAGE,
    "chain": PAGE,
    "keeper": PAGE,
    "breaker": PAGE,
    "tokens": PAGE,  # without progress, and nobody knows why
    "pause": WARN,  # somebody wanted it so, or the daily cap
    "limit": WARN,
    "alarm": WARN,
    "held": WARN,
    "failed": WARN,
    "webhook": WARN,
}
# No mint waits for these.
_BREAKERS_THAT_CAN_WAIT = {"opensea", "replicate_listing", "selfhosted"}


@dataclass(frozen=True)
class Trouble:
    """One fault; `tokens` wait for it, in `stages`, or have failed by it. `url` lists them.

    `kind`: one of LEVELS. `name`: what it is about, in a word. `level`: PAGE or WARN; that of the
    kind, unless it is given.
    """

    kind: str
    name: str
    headline: str  # what stands still, and why: `Uploads paused: Pinata refuses our key`
    reason: str = ""
    advice: str = ""
    since: datetime | None = None
    retry_at: datetime | None = None
    stages: tuple[str, ...] = ()
    tokens: int = 0
    url: str = ""
    level: str = ""
    # Of a breaker or a pause: what is wrong, and the breakers or the stage that a person may reset.
    problem: str = ""
    subjects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        can_wait = self.kind == "breaker" and self.name in _BREAKERS_THAT_CAN_WAIT
        known = WARN if can_wait else LEVELS[self.kind]
        object.__setattr__(self, "level", self.level or known)

    @property
    def title(self) -> str:
        """The headline with the number of tokens that wait, if it does not name them already."""
        if not self.tokens or self.kind in ("tokens", "held", "failed"):
            return self.headline
        waits = "waits" if self.tokens == 1 else "wait"
        return f"{self.headline} · {counted(self.tokens, 'token')} {waits}"

    @property
    def remedy(self) -> str:
        """The control that ends it at once, if there is one (console.controls)."""
        if not self.subjects:
            return ""
        return "resume" if self.kind == "pause" else "reset_breaker"


def find_causes() -> list[Trouble]:
    """Return what holds work back: pauses, breakers, limits, alarms, the keeper, the daily cap."""
    keys = Q(pk=KEEPER_KEY)
    for kind in _READERS:
        keys |= Q(state_key__startswith=f"{kind}:")
    found: list[Trouble] = []
    for row in SystemState.objects.filter(keys).order_by("state_key"):
        kind, _, name = row.state_key.partition(":")
        if not isinstance(row.state_value, dict):
            row.state_value = {}
        if (cause := _READERS[kind](name, row)) is not None:
            found.append(cause)
    if capped := cap_reason():
        last = ImageGenerationJob.objects.aggregate(last=Max("created_at"))["last"]
        midnight = database_now() + timedelta(seconds=seconds_until_midnight())
        found.append(
            Trouble(
                "pause",
                "daily_cap",
                f"{STAGE_LABELS['generation']} paused: the daily cap is reached",
                capped,
                "It goes on at midnight UTC, or after you raise DAILY_SPEND_CAP_USD and restart "
                "the workers.",
                since=last or database_now(),
                retry_at=midnight,
                stages=("generation",),
            )
        )
    return found


def has_open_breaker(causes: Iterable[Trouble], vendor: str) -> bool:
    return any((cause.kind, cause.name) == ("breaker", vendor) for cause in causes)


def _times(row: SystemState) -> dict[str, Any]:
    return {
        "since": read_moment(row.state_value.get("since")) or row.updated_at,
        "retry_at": read_moment(row.state_value.get("retry_at")),
    }


def _pause(stage: str, row: SystemState) -> Trouble:
    stages = (stage,) if stage in STAGES else ()
    headline = f"{STAGE_LABELS.get(stage, stage.capitalize())} paused"
    actor = str(row.state_value.get("actor") or "")
    if actor:
        headline += f" by {said_by(actor)}"
    return Trouble(
        "pause",
        stage,
        headline,
        str(row.state_value.get("reason", "")),
        "Resume it in Controls when its reason is gone.",
        stages=stages,
        subjects=stages,
        level=PAGE if actor == SPEND_GUARD else WARN,
        **_times(row),
    )


def _breaker(vendor: str, row: SystemState) -> Trouble | None:
    breaker = BreakerState.parse(row.state_value)
    if breaker.state != "open":
        return None
    problem = problem_of_breaker(vendor, breaker)
    return Trouble(
        "breaker",
        vendor,
        headline_with_problem([headline_for_breaker(vendor)], problem),
        breaker.reason,
        advice_for_breaker(vendor, breaker),
        stages=_BREAKERS.get(vendor, ()),
        problem=problem,
        subjects=(vendor,),
        **_times(row),
    )


def one_for_one_cause(causes: Iterable[Trouble]) -> list[Trouble]:
    """Return the causes, the open breakers of which the same is wrong as one.

    A dead node opens two, in any order; what is wrong with the keeper is seen by the scheduled look
    at it or by the next batch. The name is always the same: alerts begin and end by it.
    """
    told: dict[str, Trouble] = {}
    for found in causes:
        cause = found
        if found.problem in NODE_PROBLEMS:
            cause = replace(found, kind="breaker", name="rpc")
        elif found.problem in KEEPER_PROBLEMS:
            cause = replace(found, kind=KEEPER_KEY, name=KEEPER_PROBLEMS[found.problem])
        key = cause.problem or f"{cause.kind}:{cause.name}"
        first = told.get(key)
        told[key] = cause if first is None else _merged(first, cause)
    return list(told.values())


def _merged(one: Trouble, other: Trouble) -> Trouble:
    first, second = sorted((one, other), key=lambda c: (not c.subjects, "chain" in c.subjects))
    subjects = (*first.subjects, *second.subjects)
    effects = [headline_for_breaker(name) for name in subjects]
    return replace(
        first,
        headline=headline_with_problem(effects, first.problem),
        since=min(filter(None, (first.since, second.since)), default=None),
        retry_at=min(filter(None, (first.retry_at, second.retry_at)), default=None),
        stages=tuple(dict.fromkeys((*first.stages, *second.stages))),
        subjects=subjects,
        level=PAGE if PAGE in (first.level, second.level) else WARN,
    )


def _keeper(_: str, row: SystemState) -> Trouble | None:
    """Return what the breaker of the chain says when the next batch is composed, or soon may."""
    status = row.state_value.get("status")
    if status not in (LOW, EMPTY, BLOCKED):
        return None
    value = {
        "state": "open",
        "reason": str(row.state_value.get("reason", "")),
        "code": "" if status == BLOCKED else "no_funds",
        "since": row.state_value.get("since"),
    }
    told = _breaker("chain", SystemState(state_value=value, updated_at=row.updated_at))
    assert told is not None
    told = replace(told, kind=KEEPER_KEY, name=KEEPER_KEY, subjects=())
    if status == LOW:
        headline = "The keeper's ETH runs low"
        advice = "Send ETH to the keeper's address, before reveals wait for it."
        return replace(told, headline=headline, advice=advice, stages=(), level=WARN)
    # A price that nobody has to pay yet wakes nobody.
    return replace(told, level=WARN if told.problem == GAS_PROBLEM else PAGE)


def _limit(vendor: str, row: SystemState) -> Trouble | None:
    """Return a vendor's rate limit that was met in the last minute, or is all but used up."""
    limit, now = LimitState.parse(row.state_value), database_now()
    until, news = datetime.fromtimestamp(limit.until, UTC), (now - _LIMIT_IS_NEWS).timestamp()
    recent = {int(second): n for second, n in limit.calls.items() if int(second) >= news}
    variable = _LIMITS.get(vendor, "")
    allowed = getattr(settings, variable, 0)
    if limit.until >= news:
        headline, since = "limits the rate of calls", limit.refused_at
        pace = limit.limit_at(now.timestamp())
        words = f" About {pace:.0f} calls a minute are made." if pace else ""
        reason = limit.reason + words
        advice = advice_for_breaker(vendor, BreakerState(status=429))
    elif allowed and recent and sum(recent.values()) >= allowed - 1:  # some calls need two
        headline, since = "is called as often as the settings allow", min(recent)
        reason = f"{variable} is used up: {counted(allowed, 'call')} a minute."
        advice = f"Nothing; or raise {variable} (0: the limit is found) and restart the workers."
    else:
        return None
    return Trouble(
        "limit",
        vendor,
        f"{name_of_breaker(vendor)} {headline}",
        reason,
        advice,
        since=datetime.fromtimestamp(since, UTC),
        retry_at=until if until > now else None,
        stages=_BREAKERS.get(vendor, ()),
    )


def _alarm(_: str, row: SystemState) -> Trouble | None:
    alarm = read_alarm(row)
    return None if alarm is None else Trouble("alarm", **asdict(alarm))


_READERS: dict[str, Callable[[str, SystemState], Trouble | None]] = {
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
    events = WebhookEvent.objects.order_by("-received_at")
    last = events.values_list("received_at", flat=True).first()
    since = now - _NEWS if last is None else max(last, now - _NEWS)
    newest = (
        MintEvent.objects.filter(source=MintSource.BACKFILL)
        .order_by("-block_number", "-log_index")
        .values_list("block_timestamp", flat=True)[:_MOST_MINTS]
    )
    missed = [minted_at for minted_at in newest if minted_at > since]
    if not missed or now - missed[-1] < timedelta(seconds=timing.webhook_late_after):
        return None
    more = " or more" if len(missed) == _MOST_MINTS else ""
    return Trouble(
        "webhook",
        "webhook",
        f"No webhook since {last:%d %b %H:%M} UTC" if last else "No webhook has ever come",
        f"{counted(len(missed), 'mint')}{more} came from the chain.",
        "Look at the webhook's page at Alchemy: is it active, and does its address lead here? "
        "Mints are read from the chain meanwhile, some seconds later.",
        since=missed[-1],
    )
