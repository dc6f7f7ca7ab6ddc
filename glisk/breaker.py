"""Circuit breakers of the vendors, kept in the database and honoured by every process.

A breaker opens after three failures of availability in a row, at once when the account is
refused, and for as long as the vendor asks when a rate limit is hit. While it is open, tokens
wait and no attempt is counted. When its time is up, one process at a time may make one call:
if that succeeds, everything goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import structlog
from django.db import connection, transaction

from glisk.clock import database_now, read_moment
from glisk.errors import (
    AccountError,
    ProviderError,
    TransientError,
    backoff_seconds,
    is_for_the_rate,
)
from glisk.models import SystemState
from glisk.timing import timing

logger = structlog.get_logger(__name__)

FAILURES_TO_OPEN = 3
LONGEST_WAIT_SECONDS = 15.0

# What an open breaker stops, as a headline.
_HEADLINES: Final[dict[str, str]] = {
    "chain": "No reveal is sent",
    "gateway": "The IPFS gateway is not asked",
    "opensea": "OpenSea is not called",
    "replicate_listing": "Replicate's listing is not read",
    "replicate_reads": "Replicate does not say how predictions end",
    "rpc": "The chain is not read",
    "selfhosted": "The self-hosted image server is not called",
}
_NAMES: Final[dict[str, str]] = {
    "chain": "Chain, sending reveals",
    "gateway": "IPFS gateway",
    "opensea": "OpenSea",
    "replicate_listing": "Replicate's listing",
    "replicate_reads": "Replicate, reading predictions",
    "rpc": "Chain, reading mints",
    "selfhosted": "Self-hosted image server",
}


class VendorRefusal(NamedTuple):
    """What is known of a refusal: HTTP status, code and the vendor's own words, and our text.

    `text` counts only where the vendor said nothing: it is a fault that we found ourselves.
    """

    status: int | None = None
    code: str = ""
    said: str = ""
    text: str = ""


@dataclass(frozen=True)
class BreakerState:
    """What `system_state` holds under `breaker:<vendor>`; times are UTC in ISO 8601."""

    state: str = "closed"  # closed, open
    failures: int = 0
    openings: int = 0
    retry_at: str | None = None
    reason: str = ""
    status: int | None = None  # the refusal that opened it, as in ProviderError
    code: str = ""
    said: str = ""
    since: str | None = None
    rate_limited: bool = False  # open for the rate alone: the vendor is well

    @classmethod
    def parse(cls, value: dict[str, Any]) -> BreakerState:
        """Read a stored state; what is not understood counts as absent, so nobody gets stuck."""
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**known)

    @property
    def refusal(self) -> VendorRefusal:
        return VendorRefusal(self.status, self.code, self.said, self.reason)

    @property
    def seconds_left(self) -> float:
        """Return after how many seconds a probe is due; 0 if it is, or if no time is known."""
        due_at = read_moment(self.retry_at)
        return 0.0 if due_at is None else max(0.0, (due_at - _now()).total_seconds())


def _now() -> datetime:
    return database_now()


class Breaker:
    """One process's view of one vendor's breaker; writes only when something changes."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.key = f"breaker:{vendor}"
        self._view = BreakerState()
        self._read_at = 0.0
        self._probe: str | None = None  # the stored time, as this process has moved it ahead

    @property
    def is_open(self) -> bool:
        return self._view.state == "open"

    @property
    def is_rate_limited(self) -> bool:
        """Whether it is open because of the rate alone."""
        return self.is_open and self._view.rate_limited

    @property
    def probing(self) -> bool:
        """Whether this process may make one call while the breaker is open."""
        return self._probe is not None

    @property
    def reason(self) -> str:
        return self._view.reason

    @property
    def seconds_until_probe(self) -> float | None:
        """Return after how many seconds a call is worth trying again; None while it is closed."""
        return self._view.seconds_left if self.is_open else None

    def places(self, wanted: int) -> int:
        """Return how many calls may start now: all, none, or one as a probe, which is taken."""
        allowed = self.allowed(wanted)
        return allowed if not allowed or not self.is_open else int(self._take_probe())

    def allowed(self, wanted: int) -> int:
        """Return how many calls `places` would let start now; no probe is taken."""
        self._refresh()
        if wanted <= 0 or not self.is_open:
            return max(wanted, 0)
        return 0 if self._view.seconds_left > 0 else 1

    def succeeded(self) -> None:
        """Close the breaker; costs nothing while it is closed and without failures."""
        if self._view.state == "closed" and self._view.failures == 0:
            return
        if self.is_open and not self.probing:
            return  # the answer to a call made before it opened proves nothing
        with transaction.atomic():
            was = self._locked()
            late = was.state == "open" and not self.probing  # somebody else opened it meanwhile
            self._save(was if late else BreakerState())
        self._probe = None
        if was.state == "open" and not late:
            logger.info("breaker_closed", vendor=self.vendor)

    def give_probe_back(self) -> None:
        """Let others probe: there was nothing to call for. If the probe is still ours."""
        if self._probe is not None:
            self._move_time(self._probe, _now().isoformat())
        self._probe = None

    def failed(self, error: ProviderError) -> bool:
        """Count a failure of the vendor; return whether the breaker is open after it."""
        with transaction.atomic():
            was = self._locked()
            now = _next(was, error, probing=self.probing)
            self._save(now)
        self._probe = None
        if now.state == "open" and was.state != "open":
            logger.warning(
                "breaker_opened", vendor=self.vendor, reason=now.reason, retry_at=now.retry_at
            )
        return now.state == "open"

    def refused(self, error: ProviderError, *, paced: bool = False) -> bool:
        """Take in that a call ended badly; return whether everybody has to wait for the vendor.

        A refusal that concerns this one call is an answer too: the vendor is up. So is one for
        the rate, where a rate limit of ours does the waiting (`paced`).
        """
        if paced and is_for_the_rate(error):
            self.succeeded()
            return True
        if not isinstance(error, AccountError | TransientError):
            self.succeeded()
            return False
        return self.failed(error)

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < timing.breaker_refresh:
            return
        with connection.cursor() as cursor:  # several times a second: the ORM costs thrice as much
            cursor.execute("SELECT state_value FROM system_state WHERE state_key = %s", [self.key])
            row = cursor.fetchone()
        self._view = BreakerState.parse(json.loads(row[0]) if row else {})
        self._read_at = time.monotonic()

    def _locked(self) -> BreakerState:
        SystemState.objects.get_or_create(state_key=self.key, defaults={"state_value": {}})
        row = SystemState.objects.select_for_update().get(state_key=self.key)
        return BreakerState.parse(row.state_value)

    def _save(self, state: BreakerState) -> None:
        SystemState.objects.filter(state_key=self.key).update(
            state_value=asdict(state), updated_at=_now()
        )
        self._view, self._read_at = state, time.monotonic()

    def _take_probe(self) -> bool:
        """Let one process try: whoever moves the time ahead first has the probe."""
        ahead = (_now() + timedelta(seconds=timing.probe_window)).isoformat()
        self._probe = ahead if self._move_time(self._view.retry_at, ahead) else None
        return self.probing

    def _move_time(self, known: str | None, to: str) -> bool:
        """Move the time of the next probe, unless somebody else has moved it."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE system_state SET state_value = jsonb_set(state_value, '{retry_at}', "
                "to_jsonb(%s::text)) WHERE state_key = %s AND state_value->>'state' = 'open' "
                "AND state_value->>'retry_at' IS NOT DISTINCT FROM %s",
                [to, self.key, known],
            )
            self._read_at = 0.0
            return bool(cursor.rowcount == 1)


def _next(was: BreakerState, error: ProviderError, *, probing: bool) -> BreakerState:
    """Return the state after one more failure.

    Once it is open, only the probe's failure makes it wait longer each time. The others are
    answers to calls made before; they count only if the vendor asks for a longer wait.
    """
    now = _now()
    late = was.state == "open" and not probing
    failures = was.failures
    if isinstance(error, AccountError):
        wait = timing.account_wait
    elif isinstance(error, TransientError) and error.rate_limited:
        # A refusal for the rate is not a fault of the vendor.
        wait = error.retry_after_seconds or backoff_seconds(was.openings + 1)
    elif late:
        return was
    else:
        failures += 1
        if failures < FAILURES_TO_OPEN and was.state != "open":
            return replace(was, failures=failures)
        wait = backoff_seconds(was.openings + 1, cap=LONGEST_WAIT_SECONDS)
        if isinstance(error, TransientError) and error.retry_after_seconds:
            wait = max(wait, error.retry_after_seconds)
    if late and wait <= was.seconds_left:
        return was
    return BreakerState(
        state="open",
        failures=failures,
        openings=was.openings if late else was.openings + 1,
        retry_at=(now + timedelta(seconds=wait)).isoformat(),
        reason=str(error),
        status=error.status,
        code=error.code or "",
        said=error.said,
        since=was.since or now.isoformat(),
        rate_limited=isinstance(error, TransientError) and error.rate_limited,
    )


def name_of_breaker(name: str) -> str:
    """Return what a breaker guards, in words."""
    return _NAMES.get(name, name.capitalize())


def headline_for_breaker(name: str) -> str:
    """Return what does not happen while a breaker is open."""
    return _HEADLINES.get(name, f"{name_of_breaker(name)} is not called")
