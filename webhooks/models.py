"""The inbox: each signed event as it came, before any work was done on it."""

from django.db import models

from glisk.permissions import declared


class EventStatus(models.TextChoices):
    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"  # well signed, but nothing of ours in it
    FAILED = "failed"


class WebhookEvent(models.Model):
    event_id = models.CharField(max_length=64)
    webhook_id = models.CharField(max_length=64, blank=True)
    event_type = models.CharField(max_length=40, blank=True)
    body = models.BinaryField()
    status = models.CharField(
        max_length=12, choices=EventStatus.choices, default=EventStatus.RECEIVED
    )
    deliveries = models.PositiveIntegerField(default=1)
    verdicts = models.JSONField(default=list)  # one per log: what it was, what became of it
    error = models.TextField(blank=True, default="")
    received_at = models.DateTimeField(auto_now_add=True)
    last_delivery_at = models.DateTimeField(auto_now_add=True)
    processed_at = models.DateTimeField(null=True)  # the end of the last try, well or not

    class Meta:
        db_table = "webhook_events"
        permissions = declared("webhooks")
        constraints = [
            # As a constraint it has one index; unique=True would add a second one for LIKE.
            models.UniqueConstraint(fields=["event_id"], name="webhook_event_id_unique"),
        ]
        indexes = [
            models.Index(
                fields=["received_at"],
                name="webhook_event_unfinished",  # the rescue of events that were stored only
                condition=models.Q(status__in=["received", "failed"]),
            ),
            models.Index(fields=["-received_at"], name="webhook_event_newest"),
            # the admin's filter: hardly any is ignored
            models.Index(
                fields=["-received_at"],
                name="webhook_event_ignored",
                condition=models.Q(status="ignored"),
            ),
        ]

    def __str__(self) -> str:
        return f"event {self.event_id}"

    @property
    def took_ms(self) -> int | None:
        """Milliseconds from the first delivery until it was done; None as long as it is not."""
        if self.processed_at is None or self.status == EventStatus.FAILED:
            return None
        return round((self.processed_at - self.received_at).total_seconds() * 1000)
