"""Circuit breakers of the vendors, kept in the database and honoured by every process.

A breaker opens after three failures of availability in a row, at once when the account is
refused, and for as long as the vendor asks when a rate limit is hit. While it is open, tokens
wait and no attempt is counted. When its time is up, one process at a time may make one call:
if that succeeds, everything goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from django.db import connection, transaction

from glisk.backoff import backoff_seconds
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.models import SystemState

logger = structlog.get_logger(__name__)

FAILURES_TO_OPEN = 3
LONGEST_WAIT_SECONDS = 15.0
ACCOUNT_WAIT_SECONDS = 30.0
PROBE_WINDOW_SECONDS = 20.0  # a probe that is lost blocks the next one for this long
_REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class BreakerState:
    """What `system_state` holds under `breaker:<vendor>`; times are UTC in ISO 8601."""

    state: str = "closed"  # closed, open
    failures: int = 0
    openings: int = 0
    retry_at: str | None = None
    reason: str = ""
    since: str | None = None

    @property
    def due(self) -> bool:
        return self.retry_at is None or datetime.fromisoformat(self.retry_at) <= _now()


def _now() -> datetime:
    return datetime.now(UTC)


class Breaker:
    """One process's view of one vendor's breaker; writes only when something changes."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.key = f"breaker:{vendor}"
        self._view = BreakerState()
        self._read_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        return self._view.state == "open"

    @property
    def probing(self) -> bool:
        """Whether this process may make one call while the breaker is open."""
        return self._probing

    @property
    def reason(self) -> str:
        return self._view.reason

    def places(self, wanted: int) -> int:
        """Return how many calls may start now: all, none, or one as a probe."""
        if wanted <= 0:
            return 0
        self._refresh()
        if not self.is_open:
            return wanted
        if not self._view.due:
            return 0
        return 1 if self._take_probe() else 0

    def succeeded(self) -> None:
        """Close the breaker; costs nothing while it is closed and without failures."""
        if self._view.state == "closed" and self._view.failures == 0:
            return
        if self.is_open and not self._probing:
            return  # the answer to a call made before it opened proves nothing
        self._probing = False
        with transaction.atomic():
            was = self._locked()
            self._save(BreakerState())
        if was.state == "open":
            logger.info("breaker_closed", vendor=self.vendor)

    def give_probe_back(self) -> None:
        """Let somebody else probe: there was nothing to call for."""
        if not self._probing:
            return
        self._probing = False
        with transaction.atomic():
            self._save(replace(self._locked(), retry_at=_now().isoformat()))

    def failed(self, error: ProviderError) -> bool:
        """Count a failure of the vendor; return whether the breaker is open after it."""
        self._probing = False
        with transaction.atomic():
            was = self._locked()
            now = _next(was, error)
            self._save(now)
        if now.state == "open" and was.state != "open":
            logger.warning(
                "breaker_opened", vendor=self.vendor, reason=now.reason, retry_at=now.retry_at
            )
        return now.state == "open"

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < _REFRESH_SECONDS:
            return
        row = SystemState.objects.filter(state_key=self.key).values_list("state_value", flat=True)
        self._view = BreakerState(**(row.first() or {}))
        self._read_at = time.monotonic()

    def _locked(self) -> BreakerState:
        SystemState.objects.get_or_create(state_key=self.key, defaults={"state_value": {}})
        row = SystemState.objects.select_for_update().get(state_key=self.key)
        return BreakerState(**row.state_value)

    def _save(self, state: BreakerState) -> None:
        SystemState.objects.filter(state_key=self.key).update(
            state_value=asdict(state), updated_at=_now()
        )
        self._view, self._read_at = state, time.monotonic()

    def _take_probe(self) -> bool:
        """Let one process try: whoever moves the time ahead first has the probe."""
        ahead = (_now() + timedelta(seconds=PROBE_WINDOW_SECONDS)).isoformat()
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE system_state SET state_value = jsonb_set(state_value, '{retry_at}', "
                "to_jsonb(%s::text)) WHERE state_key = %s AND state_value->>'retry_at' = %s",
                [ahead, self.key, self._view.retry_at],
            )
            self._probing = cursor.rowcount == 1
        self._read_at = 0.0
        return self._probing


def _next(was: BreakerState, error: ProviderError) -> BreakerState:
    """Return the state after one more failure."""
    now = _now()
    failures = was.failures + 1
    if isinstance(error, AccountError):
        wait = ACCOUNT_WAIT_SECONDS
    elif isinstance(error, TransientError) and error.rate_limited:
        failures = was.failures  # a refusal for the rate is not a fault of the vendor
        wait = error.retry_after_seconds or backoff_seconds(was.openings + 1)
    elif failures >= FAILURES_TO_OPEN or was.state == "open":
        wait = backoff_seconds(was.openings + 1, cap=LONGEST_WAIT_SECONDS)
        if isinstance(error, TransientError) and error.retry_after_seconds:
            wait = max(wait, error.retry_after_seconds)
    else:
        return replace(was, failures=failures)
    return BreakerState(
        state="open",
        failures=failures,
        openings=was.openings + 1,
        retry_at=(now + timedelta(seconds=wait)).isoformat(),
        reason=str(error),
        since=was.since or now.isoformat(),
    )
