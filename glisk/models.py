"""System-wide state: pauses, breakers, progress marks, and the workers' heartbeats."""

import json
from typing import Any

from django.db import connection, models

from glisk.permissions import declared


class SystemState(models.Model):
    """One named piece of state shared by all processes, e.g. `breaker:replicate`."""

    state_key = models.CharField(max_length=100, primary_key=True)
    state_value = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "system_state"
        verbose_name_plural = "system state"
        permissions = declared("glisk")

    def __str__(self) -> str:
        return self.state_key

    @classmethod
    def locked(cls, key: str) -> Any:
        """Return the value under a key, locked until the transaction ends; {} if there was none."""
        rows = cls.objects.select_for_update()
        return rows.get_or_create(pk=key, defaults={"state_value": {}})[0].state_value

    @classmethod
    def put(cls, key: str, value: dict[str, Any]) -> None:
        """Store a value under a key, whatever was there, by one statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO system_state (state_key, state_value, updated_at) "
                "VALUES (%s, %s::jsonb, clock_timestamp()) ON CONFLICT (state_key) DO UPDATE "
                "SET state_value = EXCLUDED.state_value, updated_at = EXCLUDED.updated_at",
                [key, json.dumps(value)],
            )


class WorkerHeartbeat(models.Model):
    """What one drain or supervisor process last said of itself; written every few seconds."""

    owner = models.CharField(max_length=200, primary_key=True)  # host:main pid:pid:drain
    host = models.CharField(max_length=100)
    main_pid = models.IntegerField()
    pid = models.IntegerField()
    stage = models.CharField(max_length=50)
    in_flight = models.IntegerField(default=0)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    last_claim_at = models.DateTimeField(null=True)
    last_progress_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "worker_heartbeats"
        indexes = [models.Index(fields=["beat_at"], name="heartbeat_beat_at")]  # .alive()

    def __str__(self) -> str:
        return self.owner


class RequestCount(models.Model):
    """Requests of one subject in its present window; see glisk.api.throttling."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.IntegerField()
    ends_at = models.DateTimeField()

    class Meta:
        db_table = "request_counts"

    def __str__(self) -> str:
        return self.key


class OperatorAction(models.Model):
    """The audit trail: what an operator did to the system as a whole (glisk.admin.audit)."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=50)
    subject = models.CharField(max_length=100)
    reason = models.TextField()
    detail = models.JSONField(default=dict)

    class Meta:
        db_table = "operator_actions"
        indexes = [models.Index(fields=["-at"], name="operator_action_at")]  # newest first

    def __str__(self) -> str:
        return f"{self.action} {self.subject}".replace("_", " ").capitalize()


class Alert(models.Model):
    """One trouble from its beginning to its end (glisk.console.alerts)."""

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    level = models.CharField(max_length=4)
    headline = models.TextField()
    reason = models.TextField()
    advice = models.TextField()
    tokens = models.IntegerField(default=0, db_default=0)  # that wait for it
    url = models.TextField()  # of the admin's page about it, without the host
    began_at = models.DateTimeField()
    seen_at = models.DateTimeField()  # for the first time
    told_at = models.DateTimeField(null=True)  # the last time
    gone_at = models.DateTimeField(null=True)  # not seen since
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alerts"
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "name"], condition=models.Q(ended_at=None), name="alert_one_open"
            )
        ]
        indexes = [
            models.Index(fields=["kind", "name", "seen_at"], name="alert_by_cause"),  # flapping
            models.Index(fields=["ended_at"], name="alert_ended_at"),  # the purge
        ]

    def __str__(self) -> str:
        return self.headline


class AlertDelivery(models.Model):
    """The outbox: one message about an alert for one target. No address stands here."""

    class Event(models.TextChoices):
        BEGIN = "begin"
        REPEAT = "repeat"
        END = "end"

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        SUPERSEDED = "superseded"  # by the next message about the same alert
        GIVEN_UP = "given_up"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=10, choices=Event.choices)
    target = models.CharField(max_length=32)  # its variable, and its place there
    label = models.CharField(max_length=100)  # what people know it by
    title = models.TextField()
    body = models.TextField()
    created_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)  # somebody sends it
    done_at = models.DateTimeField(null=True)
    error = models.TextField(default="")  # of the last attempt

    class Meta:
        db_table = "alert_deliveries"
        indexes = [
            models.Index(
                fields=["target", "attempts", "id"],
                condition=models.Q(state="waiting"),
                name="alert_delivery_waiting",  # the claim
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.label}"
