"""What the task queue runs for webhooks."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from glisk.engine.schedules import delete_in_portions
from webhooks.inbox import DONE, process_unfinished
from webhooks.models import WebhookEvent


def finish_events() -> int:
    """Process events that were stored and then interrupted; return how many are done."""
    return process_unfinished()


def purge_events() -> int:
    """Delete the done events of WEBHOOK_RETENTION_DAYS ago; return how many.

    Nothing is lost with them: mints stand in the mint events and on the chain.
    """
    age = timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    old = WebhookEvent.objects.filter(status__in=DONE, received_at__lt=timezone.now() - age)
    return delete_in_portions(old.order_by("received_at"))
