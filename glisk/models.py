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
