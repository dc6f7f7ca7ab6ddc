"""Webhooks whose signature was refused: seen by nobody but the vendor, unless we say so.

A signing key that was changed at the vendor loses nothing (the workers read the chain, and ask for
predictions), but everything takes longer, and in the end the vendor gives the webhook up.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from glisk.models import SystemState
from glisk.moments import read_moment

logger = structlog.get_logger(__name__)

_PREFIX = "refused:"
_REMEMBERED_SECONDS = 900.0
# Whoever finds the address may send nonsense without end: one line and one row a minute are enough.
_WRITES_EVERY_SECONDS = 60.0

# The first refusal of a series that goes on, and the last one, per vendor.
_NOTE = """
    INSERT INTO system_state (state_key, state_value, updated_at)
    VALUES (%(key)s, jsonb_build_object('reason', %(reason)s::text, 'since', clock_timestamp()),
            clock_timestamp())
    ON CONFLICT (state_key) DO UPDATE SET
        updated_at = clock_timestamp(),
        state_value = jsonb_build_object('reason', %(reason)s::text, 'since', CASE
            WHEN system_state.updated_at > clock_timestamp() - make_interval(secs => %(remembered)s)
            THEN system_state.state_value -> 'since' ELSE to_jsonb(clock_timestamp()) END)
"""


@dataclass(frozen=True)
class RefusedWebhooks:
    """`since` is the first refusal of those that followed each other, `last_at` the last noted."""

    vendor: str
    reason: str
    since: datetime
    last_at: datetime


class _Gate:
    """Let one refusal of each vendor through a minute, per process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._opens_at: dict[str, float] = {}

    def opens(self, vendor: str) -> bool:
        now = time.monotonic()
        with self._guard:
            if now < self._opens_at.get(vendor, 0.0):
                return False
            self._opens_at[vendor] = now + _WRITES_EVERY_SECONDS
            return True

    def shut(self, *vendors: str) -> None:
        """Let nothing of these vendors through until `reset`."""
        with self._guard:
            self._opens_at.update(dict.fromkeys(vendors, math.inf))

    def reset(self) -> None:
        with self._guard:
            self._opens_at.clear()


gate, accepted_gate = _Gate(), _Gate()


def note_refused_webhook(vendor: str, reason: str) -> None:
    """Log a webhook whose signature was refused, and keep it for the dashboard.

    The database is written beside the request: nobody who cannot sign makes the request wait.
    """
    if not gate.opens(vendor):
        return
    logger.warning("webhook_signature_refused", vendor=vendor, reason=reason)
    _in_background(lambda: _keep(vendor, reason))


def note_accepted_webhook(vendor: str) -> None:
    """Let the dashboard forget refusals: the key is the right one, or is again."""
    if accepted_gate.opens(vendor):
        _in_background(lambda: _forget(vendor))


def _in_background(work: Callable[[], None]) -> None:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()  # the thread's own

    threading.Thread(target=run, name="refused-webhook", daemon=True).start()


def _keep(vendor: str, reason: str) -> None:
    given: dict[str, str | float] = {
        "key": _PREFIX + vendor,
        "reason": reason,
        "remembered": _REMEMBERED_SECONDS,
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, given)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("refusal_not_noted", vendor=vendor, error=type(error).__name__)


def _forget(vendor: str) -> None:
    with suppress(DatabaseError, InterfaceError):  # it is forgotten by its age, too
        SystemState.objects.filter(pk=_PREFIX + vendor).delete()


def refused_webhooks() -> list[RefusedWebhooks]:
    """Return the vendors whose webhooks were refused within the last quarter of an hour."""
    since = timezone.now() - timedelta(seconds=_REMEMBERED_SECONDS)
    rows = SystemState.objects.filter(state_key__startswith=_PREFIX, updated_at__gt=since)
    found = []
    for row in rows.order_by("state_key"):
        value = row.state_value if isinstance(row.state_value, dict) else {}
        found.append(
            RefusedWebhooks(
                vendor=row.state_key.removeprefix(_PREFIX),
                reason=str(value.get("reason", "")),
                since=read_moment(value.get("since")) or row.updated_at,
                last_at=row.updated_at,
            )
        )
    return found
