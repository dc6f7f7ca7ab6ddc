"""Stages that are paused, by an operator or by the pipeline itself.

A pause begins nothing new; what is under way, or paid for, is finished. Workers look every second
while they work and every few seconds while they wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from glisk.admin.audit import record_action, said, said_by
from glisk.clock import read_moment
from glisk.models import SystemState
from glisk.timing import timing

STAGES = ("generation", "upload", "reveal")
SPEND_GUARD = "spend guard"  # the actor of the pause that the pipeline makes by itself
# As people read them.
STAGE_LABELS = {"generation": "Image generation", "upload": "Uploads", "reveal": "Reveals"}


@dataclass(frozen=True)
class Pause:
    """A stage that begins nothing new; times are UTC."""

    stage: str
    reason: str
    actor: str
    since: datetime | None

    @property
    def who(self) -> str:
        return said_by(self.actor)


class Pauses:
    """One process's view of the pauses, at most a second old."""

    def __init__(self) -> None:
        self._paused: set[str] = set()
        self._read_at = -timing.pause_refresh

    def is_paused(self, stage: str) -> bool:
        if time.monotonic() - self._read_at >= timing.pause_refresh:
            self._paused = {pause.stage for pause in list_pauses()}
            self._read_at = time.monotonic()
        return stage in self._paused


def pause_stage(stage: str, *, actor: str, reason: str) -> bool:
    """Begin nothing new in a stage; return False if it was paused already.

    Raises ValueError for an unknown stage or without a reason.
    """
    key, reason = _pause_key(stage), said(reason)
    value = {"reason": reason, "actor": actor, "since": datetime.now(UTC).isoformat()}
    with transaction.atomic():
        _, created = SystemState.objects.get_or_create(pk=key, defaults={"state_value": value})
        if created:
            record_action(actor=actor, action="pause_stage", subject=stage, reason=reason)
    return created


def resume_stage(stage: str, *, actor: str, reason: str) -> bool:
    """Let a paused stage go on; return False if it was not paused. Raises as `pause_stage`."""
    key, reason = _pause_key(stage), said(reason)
    with transaction.atomic():
        row = SystemState.objects.select_for_update().filter(pk=key).first()
        if row is None:
            return False
        record_action(
            actor=actor,
            action="resume_stage",
            subject=stage,
            reason=reason,
            detail={"was": row.state_value},
        )
        row.delete()
    return True


def list_pauses() -> list[Pause]:
    rows = SystemState.objects.filter(pk__startswith="pause:").order_by("pk")
    return [_read(row.pk.removeprefix("pause:"), row.state_value) for row in rows]


def _read(stage: str, stored: Any) -> Pause:
    value = stored if isinstance(stored, dict) else {}
    reason, actor = str(value.get("reason", "")), str(value.get("actor", ""))
    return Pause(stage, reason, actor, read_moment(value.get("since")))


def _pause_key(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"There is no stage {stage!r}; there are {', '.join(STAGES)}.")
    return f"pause:{stage}"
