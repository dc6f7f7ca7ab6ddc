"""Compare what is wrong with the alerts that are open; write what is to be told into the outbox.

One at a time in all, under a lock, in one transaction: alerts and their messages are there together
or not at all. A storm of causes that come and go is no storm of messages: a cause is told when it
has lasted for ALERT_AFTER_SECONDS, is over when it was away for as long, and one that comes back
again and again is told ever more rarely.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max

from glisk.clock import database_now
from glisk.console.alerts.messages import body_of, page_of, title_of
from glisk.console.alerts.targets import targets_of
from glisk.console.overview import Trouble, read_troubles
from glisk.console.overview.causes import PAGE, WARN
from glisk.logging.redaction import redact_text
from glisk.models import Alert, AlertDelivery

logger = structlog.get_logger(__name__)
Event = AlertDelivery.Event

_LOCK: Final = crc32(b"glisk:alerts")
# A cause that ended within a day: from its end to the next message, twice as long each time.
_REMEMBERED: Final = timedelta(days=1)
_CALM_SECONDS: Final = 300.0
_LONGEST_CALM_SECONDS: Final = 3600.0


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock of the outbox in a transaction."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        yield


def note_troubles() -> int:
    """Begin, keep up and end alerts by what is wrong now; return how many messages were written."""
    with one_at_a_time():
        now = database_now()
        troubles: dict[tuple[str, str], Trouble] = {}
        for trouble in read_troubles():  # the gravest first
            troubles.setdefault((trouble.kind, trouble.name), trouble)
        alerts = {(alert.kind, alert.name): alert for alert in Alert.objects.filter(ended_at=None)}
        told: list[tuple[Alert, Event]] = []
        for key, trouble in troubles.items():
            if _is_milder(trouble, alerts.get(key)):
                continue  # what needed a person is over; what is left of it is told anew
            alert = alerts.pop(key, None) or Alert(
                kind=trouble.kind, name=trouble.name, seen_at=now
            )
            is_worse = alert.level == WARN and trouble.level == PAGE
            _copy(trouble, alert)
            # Whoever gets pages only has not heard of what was told as a warning.
            event = Event.BEGIN if is_worse and alert.told_at else _due(alert, now)
            alert.told_at = now if event else alert.told_at
            alert.save()
            told += [(alert, event)] if event else []
        told += [(alert, Event.END) for alert in alerts.values() if _ends(alert, now)]
        return _write(told, [trouble.title for trouble in troubles.values()], now)


def _is_milder(trouble: Trouble, alert: Alert | None) -> bool:
    """Tell whether a page that was told is only a warning by now."""
    if alert is None or alert.told_at is None:
        return False
    return (alert.level, trouble.level) == (PAGE, WARN)


def _copy(trouble: Trouble, alert: Alert) -> None:
    alert.level = trouble.level
    alert.began_at = alert.began_at or trouble.since or alert.seen_at
    alert.gone_at = None
    alert.tokens, alert.url = trouble.tokens, page_of(trouble)
    alert.headline, alert.reason, alert.advice = (
        redact_text(text) for text in (trouble.headline, trouble.reason, trouble.advice)
    )


def _due(alert: Alert, now: datetime) -> Event | None:
    """Return what is to be told of a trouble that is there."""
    if alert.told_at is not None:
        repeat = settings.ALERT_REPEAT_SECONDS
        is_due = repeat and now >= alert.told_at + timedelta(seconds=repeat)
        return Event.REPEAT if is_due else None
    lasted = now >= alert.seen_at + timedelta(seconds=settings.ALERT_AFTER_SECONDS)
    return Event.BEGIN if lasted and now >= _calm_until(alert, now) else None


def _calm_until(alert: Alert, now: datetime) -> datetime:
    """Return when a cause that was told before may be told again; in the past for a new one."""
    same = Alert.objects.filter(kind=alert.kind, name=alert.name)
    if alert.level == PAGE:  # whoever gets pages only has heard of no warning
        same = same.filter(level=PAGE)
    ended = same.filter(ended_at__gt=now - _REMEMBERED)
    before = ended.aggregate(times=Count("pk"), last=Max("ended_at"))
    seconds = min(_LONGEST_CALM_SECONDS, _CALM_SECONDS * 2.0 ** (before["times"] - 1))
    last: datetime | None = before["last"]
    return now if last is None else last + timedelta(seconds=seconds)


def _ends(alert: Alert, now: datetime) -> bool:
    """Note that a trouble is not there; return whether that is to be told."""
    if alert.told_at is None:
        alert.delete()
        return False
    alert.gone_at = alert.gone_at or now
    if now >= alert.gone_at + timedelta(seconds=settings.ALERT_AFTER_SECONDS):
        alert.ended_at = now
    alert.save(update_fields=["gone_at", "ended_at"])
    return alert.ended_at is not None


def _write(told: list[tuple[Alert, Event]], still_wrong: list[str], now: datetime) -> int:
    deliveries = []
    for alert, event in told:
        logger.info("alert", what=event, kind=alert.kind, name=alert.name, urgency=alert.level)
        facts = {
            "title": title_of(alert, event),
            "body": body_of(alert, event, still_wrong, now),
            "created_at": now,
            "next_attempt_at": now,
        }
        deliveries += [
            AlertDelivery(alert=alert, event=event, target=target.key, label=target.label, **facts)
            for target in targets_of(alert.level)
        ]
    return len(AlertDelivery.objects.bulk_create(deliveries))
