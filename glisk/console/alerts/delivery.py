"""Send what stands in the outbox: claim, call in threads without the database, settle.

Each target has its own pace: one message at a time, the oldest of the least attempts first, and a
pause for all of them after a failure. One that is down takes a thread, and nobody's time. A claim
ends by itself: what a process had sent and not marked when it died is sent once more, by the next.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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
    accepted, began = 0, time.monotonic()
    calls: dict[Future[str], tuple[AlertDelivery, float]] = {}
    pool = ThreadPoolExecutor(len(known), "alerts")
    try:
        while True:
            now = time.monotonic()
            if now - began < _BUDGET_SECONDS and not process_stop_flag().is_set():
                for delivery in _claim(known):
                    call = pool.submit(_call, known[delivery.target], delivery)
                    calls[call] = delivery, now + _CALL_SECONDS
            if not calls:
                return accepted
            first = min(until for _, until in calls.values())
            wait(calls, max(0.0, first - time.monotonic()), FIRST_COMPLETED)
            for call, (delivery, until) in list(calls.items()):
                if call.done() or time.monotonic() >= until:
                    late = f"no answer in {_CALL_SECONDS:.0f} s"
                    accepted += _settle(delivery, call.result() if call.done() else late)
                    del calls[call]
    finally:
        pool.shutdown(wait=False)


def _call(target: Target, delivery: AlertDelivery) -> str:
    over = delivery.event == AlertDelivery.Event.END
    look = "success" if over else LOOKS[delivery.alert.level]
    return send(target, title=delivery.title, body=delivery.body, look=look)


def _claim(known: dict[str, Target]) -> list[AlertDelivery]:
    """Take the next message of each target that nobody sends to just now."""
    with one_at_a_time():
        now = database_now()
        free = Q(claimed_until=None) | Q(claimed_until__lt=now)
        waiting = AlertDelivery.objects.filter(state=State.WAITING, target__in=known)
        newer = AlertDelivery.objects.filter(
            alert=OuterRef("alert"), target=OuterRef("target"), pk__gt=OuterRef("pk")
        )
        waiting.filter(free, Exists(newer)).update(state=State.SUPERSEDED, done_at=now)
        busy = waiting.exclude(free).values("target")
        due = waiting.filter(next_attempt_at__lte=now).exclude(target__in=busy)
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
    facts = {"target": delivery.label, "attempts": delivery.attempts, "error": error}
    logger.warning("alert_not_delivered", **facts)
    gives_up = now - delivery.created_at > _GIVE_UP_AFTER
    seconds = backoff_seconds(
        delivery.attempts, base=_FIRST_WAIT_SECONDS, cap=_LONGEST_WAIT_SECONDS
    )
    waiting = AlertDelivery.objects.filter(state=State.WAITING, target=delivery.target)
    pause = now + timedelta(seconds=_FIRST_WAIT_SECONDS)
    waiting.filter(next_attempt_at__lt=pause).update(next_attempt_at=pause)
    ours.update(
        state=State.GIVEN_UP if gives_up else State.WAITING,
        done_at=now if gives_up else None,
        claimed_until=None,
        next_attempt_at=now + timedelta(seconds=seconds),
        error=error,
    )
    return False
