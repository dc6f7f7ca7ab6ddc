"""Breakers and rate limits of the vendors by hand; everything done here leaves an audit row."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from glisk.admin.audit import record_action, said
from glisk.breaker import BreakerState, VendorRefusal
from glisk.clock import read_moment
from glisk.models import SystemState
from glisk.rate_limit import WINDOW_SECONDS, LimitState


@dataclass(frozen=True)
class BreakerInfo:
    """One vendor's breaker: `probe_at` is when one call is tried again while it is open."""

    name: str
    is_open: bool
    failures: int
    reason: str
    refusal: VendorRefusal
    since: datetime | None
    probe_at: datetime | None


@dataclass(frozen=True)
class RateUse:
    """How many calls one vendor's limit has let through in the last minute.

    `per_minute` is the limit that was found, if one is; nothing starts before `until`.
    """

    name: str
    used: int
    per_minute: float | None = None
    until: datetime | None = None


def reset_breaker(name: str, *, actor: str, reason: str) -> bool:
    """Close a vendor's breaker, as if its next calls were sure to work; they open it otherwise.

    Returns False if it was closed and had counted no failure. Raises ValueError for an unknown
    breaker or without a reason.
    """
    reason = said(reason)
    with transaction.atomic():
        row = _locked(f"breaker:{name}", f"There is no breaker {name!r}.")
        closed = asdict(BreakerState())
        was = BreakerState.parse(row.state_value)
        if was.state == "closed" and was.failures == 0:
            return False
        record_action(
            actor=actor,
            action="reset_breaker",
            subject=name,
            reason=reason,
            detail={"was": row.state_value},
        )
        row.state_value = closed
        row.save()
    return True


def reset_rate_limit(name: str, *, actor: str, reason: str) -> bool:
    """Forget what was found and counted, for a limit that was raised; False if there was nothing.

    Raises ValueError for an unknown limit or without a reason.
    """
    reason = said(reason)
    with transaction.atomic():
        row = _locked(f"limit:{name}", f"There is no rate limit {name!r}.")
        if not row.state_value:
            return False
        record_action(actor=actor, action="reset_rate_limit", subject=name, reason=reason)
        row.state_value = {}
        row.save()
    return True


def list_breakers() -> list[BreakerInfo]:
    """Return every breaker that has ever counted a failure, the closed ones too."""
    found = []
    for name, value in _states("breaker:"):
        state = BreakerState.parse(value)
        is_open = state.state == "open"
        found.append(
            BreakerInfo(
                name=name,
                is_open=is_open,
                failures=state.failures,
                reason=state.reason,
                refusal=state.refusal,
                since=read_moment(state.since),
                probe_at=read_moment(state.retry_at) if is_open else None,
            )
        )
    return found


def list_rate_use() -> list[RateUse]:
    """Return how much of each rate limit was used in the last minute, and what was found."""
    now, uses = time.time(), []
    for name, value in _states("limit:"):
        limit = LimitState.parse(value)
        used = sum(n for second, n in limit.calls.items() if int(second) >= now - WINDOW_SECONDS)
        until = datetime.fromtimestamp(limit.until, UTC) if limit.until > now else None
        uses.append(RateUse(name, used, limit.limit_at(now), until))
    return uses


def _locked(key: str, problem: str) -> SystemState:
    row = SystemState.objects.select_for_update().filter(pk=key).first()
    if row is None:
        raise ValueError(problem)
    return row


def _states(prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the stored states under a prefix, by their bare names."""
    return [
        (row.state_key.removeprefix(prefix), row.state_value)
        for row in SystemState.objects.filter(pk__startswith=prefix).order_by("pk")
        if isinstance(row.state_value, dict)
    ]
