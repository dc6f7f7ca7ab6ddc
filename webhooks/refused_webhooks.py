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

import structlog
from django.db import DatabaseError, InterfaceError, connection

from glisk.engine.alarms import end_alarm, raise_alarm

logger = structlog.get_logger(__name__)

_PREFIX = "refused-webhooks-"
_REMEMBERED_SECONDS = 900.0
# Whoever finds the address may send nonsense without end: one line and one row a minute are enough.
_WRITES_EVERY_SECONDS = 60.0

_NAMES = {"alchemy": "Alchemy", "replicate": "Replicate"}
_MEANWHILE = {
    "alchemy": "Mints are read from the chain meanwhile.",
    "replicate": "Predictions are asked for meanwhile.",
}


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
    name = _NAMES[vendor]
    try:
        raise_alarm(
            _PREFIX + vendor,
            headline=f"{name}'s webhooks are refused",
            reason=reason,
            advice=f"Has the signing key changed at {name}? Put the new one into "
            f"{vendor.upper()}_WEBHOOK_SECRET (both, comma-separated, while it is rotated) and "
            f"restart web. {_MEANWHILE[vendor]}",
            lasts_seconds=_REMEMBERED_SECONDS,
        )
    except (DatabaseError, InterfaceError) as error:
        logger.warning("refusal_not_noted", vendor=vendor, error=type(error).__name__)


def _forget(vendor: str) -> None:
    with suppress(DatabaseError, InterfaceError):  # it is forgotten by its age, too
        end_alarm(_PREFIX + vendor)
