"""Send what stands in the outbox: claim, call in threads without the database, settle.

Each target has its own pace: one message at a time, the oldest of the least attempts first, and a
pause for all of them after a failure. While one is waited for, the next run serves the others. A
claim runs out: what a process had sent and not marked when it died is sent once more.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from django.db.models import Exists, F, OuterRef, Q

from glisk.clock import database_now
from glisk.console.alerts.evaluation import one_at_a_time
from glisk.console.alerts.messages import LOOKS
from glisk.console.alerts.targets import Target, send, targets
from glisk.engine.process import process_stop_flag
from glisk.errors import backoff_seconds
from glisk.models import AlertDelivery

logger = structlog.get_logger(__name__)
State = AlertDelivery.State

# Some services make several calls; apprise bounds each of them by seconds.
_CALL_SECONDS: Final = 45.0
_CLAIM_SECONDS: Final = 120.0
_BUDGET_SECONDS: Final = 30.0  # then the next run goes on
_FIRST_WAIT_SECONDS: Final = 15.0
_LONGEST_WAIT_SECONDS: Final = 900.0
_GIVE_UP_AFTER: Final = timedelta(days=1)


def deliver() -> int:
    """Send what is due; return how many messages were accepted."""
    known = {target.key: target for target in targets()}
    if not known:
        return 0
    accepted, ends = 0, time.monotonic() + _BUDGET_SECONDS
    pool = ThreadPoolExecutor(len(known), "alerts")
    try:
        while time.monotonic() < ends and not process_stop_flag().is_set():
            calls = {pool.submit(_call, known[d.target], d): d for d in _claim(known)}
            if not calls:
                break
            with suppress(TimeoutError):
                for call in as_completed(list(calls), _CALL_SECONDS):
                    accepted += _settle(calls.pop(call), call.result())
            for delivery in calls.values():
                _settle(delivery, f"no answer in {_CALL_SECONDS:.0f} s")
    finally:
        pool.shutdown(wait=False)
    return accepted


def _call(target: Target, delivery: AlertDelivery) -> str:
    over = delivery.event == AlertDelivery.Event.END
    look = "success" if over else LOOKS[delivery.alert.level]
    return send(target, title=delivery.title, body=delivery.body, look=look)


def _claim(known: dict[str, Target]) -> list[AlertDelivery]:
    """Take the next message of each target that nobody sends to just now."""
    with one_at_a_time():
        now = database_now()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        waiting = AlertDelivery.objects.filter(state=State.WAITING)
        newer = AlertDelivery.objects.filter(
            alert=OuterRef("alert"), target=OuterRef("target"), pk__gt=OuterRef("pk")
        )
        waiting.filter(free, Exists(newer)).update(state=State.SUPERSEDED, done_at=now)
        old = waiting.filter(free, created_at__lt=now - _GIVE_UP_AFTER)
        old.update(state=State.GIVEN_UP, done_at=now)
        busy = waiting.exclude(free).values("target")
        due = waiting.filter(next_attempt_at__lte=now, target__in=known).exclude(target__in=busy)
        ids = due.order_by("target", "attempts", "pk").distinct("target").values("pk")
        claimed = AlertDelivery.objects.filter(pk__in=[row["pk"] for row in ids])
        until = now + timedelta(seconds=_CLAIM_SECONDS)
        claimed.update(attempts=F("attempts") + 1, claimed_until=until)
        return list(claimed.select_related("alert"))


def _settle(delivery: AlertDelivery, error: str) -> bool:
    """Write what came of an attempt, if it is still ours; return whether it was accepted."""
    now = database_now()
    ours = AlertDelivery.objects.filter(
        pk=delivery.pk, state=State.WAITING, attempts=delivery.attempts
    )
    if not error:
        return bool(ours.update(state=State.SENT, done_at=now, claimed_until=None, error=""))
    tried = delivery.attempts
    logger.warning("alert_not_delivered", target=delivery.label, attempts=tried, error=error)
    waiting = AlertDelivery.objects.filter(state=State.WAITING, target=delivery.target)
    pause = now + timedelta(seconds=_FIRST_WAIT_SECONDS)
    waiting.filter(next_attempt_at__lt=pause).update(next_attempt_at=pause)
    seconds = backoff_seconds(tried, base=_FIRST_WAIT_SECONDS, cap=_LONGEST_WAIT_SECONDS)
    again_at = now + timedelta(seconds=seconds)
    ours.update(claimed_until=None, next_attempt_at=again_at, error=error)
    return False
