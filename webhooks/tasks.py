"""What the task queue runs for webhooks."""

from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from glisk.engine.schedules import delete_in_portions
from webhooks.inbox import DONE, UNFINISHED, EventNotProcessedError, replay_event
from webhooks.models import WebhookEvent


def finish_events(limit: int = 100) -> int:
    """Process events that were stored a minute ago and then interrupted; return how many are done.

    What fails again stays in the inbox, with its error, for an operator.
    """
    minute_ago = timezone.now() - timedelta(minutes=1)
    waiting = WebhookEvent.objects.filter(status__in=UNFINISHED, last_delivery_at__lt=minute_ago)
    # Those that failed longest ago first: a few that fail for ever hold no other back.
    waiting = waiting.order_by(F("processed_at").asc(nulls_first=True), "received_at")
    done = 0
    for event_pk in list(waiting.values_list("pk", flat=True)[:limit]):
        with suppress(EventNotProcessedError):
            replay_event(event_pk)
            done += 1
    return done


def purge_events() -> int:
    """Delete the done events of WEBHOOK_RETENTION_DAYS ago; return how many.

    Nothing is lost with them: mints stand in the mint events and on the chain.
    """
    age = timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    old = WebhookEvent.objects.filter(status__in=DONE, received_at__lt=timezone.now() - age)
    return delete_in_portions(old.order_by("received_at"))
