"""Circuit breakers of the vendors, kept in the database and honoured by every process.

A breaker opens after three failures of availability in a row, at once when the account is
refused, and for as long as the vendor asks when a rate limit is hit. While it is open, tokens
wait and no attempt is counted. When its time is up, one process at a time may make one call:
if that succeeds, everything goes on.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import Any, Final

import structlog
from django.db import transaction

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

# What a breaker guards, and what stands still while it is open.
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "chain": ("Node, sending reveals", "Reveals paused"),
    "gateway": ("IPFS gateway", "Reveals paused"),
    "opensea": ("OpenSea", "OpenSea not updated"),
    "pinata": ("Pinata", "Uploads paused"),
    "replicate": ("Replicate", "Image generation paused"),
    "replicate_listing": ("Replicate, list of predictions", "Lost replies not found"),
    "replicate_reads": ("Replicate, reading predictions", "Image generation paused"),
    "rpc": ("Node, reading mints", "New mints not read"),
    "signer": ("Keeper's signer", "Reveals paused"),
    "selfhosted": ("Self-hosted image server", "Self-hosted images paused"),
}


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
        return cls(**{each.name: value[each.name] for each in fields(cls) if each.name in value})

    @property
    def seconds_left(self) -> float:
        """Return after how many seconds a probe is due; 0 if it is, or if no time is known."""
        due_at = read_moment(self.retry_at)
        return 0.0 if due_at is None else max(0.0, (due_at - database_now()).total_seconds())


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
        if not allowed or not self.is_open:
            return allowed
        # Whoever moves the time ahead first has the probe.
        ahead = (database_now() + timedelta(seconds=timing.probe_window)).isoformat()
        self._probe = ahead if self._move_time(self._view.retry_at, to=ahead) else None
        return int(self.probing)

    def allowed(self, wanted: int) -> int:
        """Return how many calls `places` would let start now; no probe is taken."""
        if time.monotonic() - self._read_at >= timing.breaker_refresh:
            stored = SystemState.objects.filter(pk=self.key).values_list("state_value", flat=True)
            self._view = BreakerState.parse(stored.first() or {})
            self._read_at = time.monotonic()
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
            self._move_time(self._probe, to=database_now().isoformat())
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

    def _locked(self) -> BreakerState:
        return BreakerState.parse(SystemState.locked(self.key))

    def _save(self, state: BreakerState) -> None:
        SystemState.put(self.key, asdict(state))
        self._view, self._read_at = state, time.monotonic()

    def _move_time(self, known: str | None, *, to: str) -> bool:
        """Move the time of the next probe, unless somebody else has moved it."""
        with transaction.atomic():
            was = self._locked()
            is_free = was.state == "open" and was.retry_at == known
            if is_free:
                self._save(replace(was, retry_at=to))
        return is_free


def _next(was: BreakerState, error: ProviderError, *, probing: bool) -> BreakerState:
    """Return the state after one more failure.

    Once it is open, only the probe's failure makes it wait longer each time. The others are
    answers to calls made before; they count only if the vendor asks for a longer wait.
    """
    now = database_now()
    late = was.state == "open" and not probing
    failures, openings = was.failures, was.openings + 1
    if isinstance(error, AccountError):
        wait = timing.account_wait
    elif error.rate_limited:  # no fault of the vendor
        wait = error.retry_after_seconds or backoff_seconds(openings)
    elif late:
        return was
    else:
        failures += 1
        if failures < FAILURES_TO_OPEN and was.state != "open":
            return replace(was, failures=failures)
        wait = backoff_seconds(openings, cap=LONGEST_WAIT_SECONDS)
        wait = max(wait, error.retry_after_seconds or 0.0)
    if late and wait <= was.seconds_left:
        return was
    return BreakerState(
        state="open",
        failures=failures,
        openings=was.openings if late else openings,
        retry_at=(now + timedelta(seconds=wait)).isoformat(),
        reason=str(error),
        status=error.status,
        code=error.code or "",
        said=error.said,
        since=was.since or now.isoformat(),
        rate_limited=error.rate_limited,
    )


def name_of_breaker(name: str) -> str:
    return _WORDS[name][0] if name in _WORDS else name.capitalize()


def headline_for_breaker(name: str) -> str:
    """Return what stands still while a breaker is open: `Uploads paused`."""
    return _WORDS[name][1] if name in _WORDS else f"Calls to {name} paused"
