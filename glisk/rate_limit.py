"""The rate at which a vendor may be called: set by the operator, or found by calling it.

It is kept in the database and honoured by all processes together: how many calls were let through
in each second of the last minute, under the lock of one row, by the database's clock.

A limit that is set is a sliding window, longer than a minute by the seconds that a call may take
to start (the slack). A refusal is only waited for.

A limit that nobody told of is found. Calls start as they come, until the vendor refuses one for
its rate (HTTP 429). Nothing starts then before the time that the vendor asks for, and after it
calls start at the pace that the vendor has just borne: what it let through, by the time that this
took, the wait included (right for fixed windows, sliding windows and token buckets alike). One
refusal halves a pace at most. The pace grows again: twofold after a minute without a refusal,
sixteenfold after two.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import accumulate
from typing import Any, Final

import structlog
from django.db import transaction

from glisk.clock import database_now
from glisk.errors import ProviderError, backoff_seconds
from glisk.models import SystemState

logger = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = 60
DOUBLED_AFTER_SECONDS: Final = 60.0
_LARGEST_GROWTH: Final = 12.0  # powers of two, after which nothing is left of a found limit
_MARGIN: Final = 0.97
# A refusal after so many accepted calls for each refused one only pauses.
_RARE: Final = 40
_FEW: Final = 10
# Turns come late: so much unused time is not lost. A burst must stay small.
_BURST_SECONDS: Final = 0.25
_LONGEST_BLIND_WAIT_SECONDS: Final = 10.0  # where the vendor names no time, or one too short
_ASK_AGAIN_SECONDS: Final = 5.0  # an operator may have reset it


@dataclass
class LimitState:
    """What `system_state` holds under `limit:<vendor>`; times are the database's Unix seconds."""

    calls: dict[str, int] = field(default_factory=dict)  # let through, by second
    per_minute: float | None = None  # as of `until`; None: no limit was met
    next_at: float = 0.0  # when the next paced call is due
    until: float = 0.0  # no call starts before
    reason: str = ""
    refused_at: float = 0.0
    # When the limit was met the last time, and since then:
    met_at: float = 0.0
    limit_before: float | None = None
    counted_from: float = 0.0  # the end of the wait before
    refused: int = 0  # calls
    in_a_row: int = 0  # refusals with hardly a call accepted in between

    @classmethod
    def parse(cls, value: Any) -> LimitState:
        """Read a stored state; what is not understood counts as absent."""
        if not isinstance(value, dict):
            return cls()
        return cls(**{each.name: value[each.name] for each in fields(cls) if each.name in value})

    def limit_at(self, now: float) -> float | None:
        """Return the calls a minute that are tried now; None if there is no limit."""
        if self.per_minute is None:
            return None
        growth = (max(0.0, now - self.until) / DOUBLED_AFTER_SECONDS) ** 2
        return self.per_minute * 2**growth if growth < _LARGEST_GROWTH else None

    def take(self, wanted: int, *, unit: int, now: float) -> tuple[int, float]:
        """Take places for calls that start now; return how many, and when to ask again."""
        if now < self.until:
            return 0, self.until - now
        limit = self.limit_at(now)
        if limit is None:
            self._count(wanted, now)
            return wanted, 0.0
        if now < self.next_at:
            return 0, self.next_at - now
        seconds_a_call = 60.0 / limit
        begins = max(self.next_at, now - _BURST_SECONDS)
        due = max(int((now - begins) / seconds_a_call), unit)
        granted = min(wanted, due // unit * unit)
        self.next_at = begins + granted * seconds_a_call
        self._count(granted, now)
        return granted, max(0.0, self.next_at - now)

    def take_within(
        self, limit: int, wanted: int, *, unit: int, slack: int, now: float
    ) -> tuple[int, float]:
        """Take places of `limit` calls a minute; return how many, and when to ask again."""
        if now < self.until:
            return 0, self.until - now
        unit, window = min(unit, limit), WINDOW_SECONDS + slack
        counted = self._recent(now, window)
        free = max(limit - sum(counted.values()), 0)
        granted = min(wanted, free // unit * unit)
        self._count(granted, now, window)
        if granted == wanted:
            return granted, 0.0
        return granted, min(map(int, counted), default=int(now)) + window + 1 - now

    def refuse(
        self, calls: int, *, asked_wait: float | None, age: float, now: float, learn: bool
    ) -> bool:
        """Take in that `calls` were refused, the oldest of which was let through `age` s ago.

        `asked_wait` is what the vendor asks for. Returns whether it is news: calls that were under
        way at the last refusal add to that one.
        """
        is_new = now - age > self.refused_at
        if is_new:
            self.refused_at = now
            # A short wait may be too short; then nearly all that follow are refused as well.
            is_long = (asked_wait or 0.0) >= _LONGEST_BLIND_WAIT_SECONDS
            few = calls if is_long else _FEW * calls
            if not self.met_at or self._granted_since(self.until) > few:
                self.limit_before, self.counted_from = self.limit_at(now), self.until
                self.met_at, self.refused, self.in_a_row = now, 0, 0
            self.in_a_row += 1
        self.refused += calls
        # A vendor that says "in 0 seconds" again and again is waited for as one that says nothing.
        rounds = self.in_a_row - (asked_wait is not None)
        own = backoff_seconds(rounds, cap=_LONGEST_BLIND_WAIT_SECONDS) if rounds > 0 else 0.0
        wait = max(asked_wait or 0.0, own)
        self.until = self.next_at = max(self.until, now + wait)
        if learn:
            self.per_minute = self._limit_after_refusal()
        return is_new

    def _limit_after_refusal(self) -> float:
        before, since = self.limit_before, max(self.counted_from, self.met_at - WINDOW_SECONDS)
        accepted = self._granted_since(since) - self.refused
        if before is not None and accepted >= _RARE * self.refused:
            return before
        # Of the busiest stretch: before it calls may have been few for lack of work.
        borne = 0.0
        for second in map(int, self.calls):
            if int(since) <= second <= self.met_at:
                accepted = self._granted_since(second) - self.refused
                seconds = self.until - max(second, since)
                borne = max(borne, 60 * max(accepted, 1) / max(seconds, 0.1))
        limit = _MARGIN * borne
        if before is not None:
            limit = max(before / 2, min(before, limit))
        return max(limit, 1.0)

    def _granted_since(self, moment: float) -> int:
        return sum(number for second, number in self.calls.items() if int(second) >= int(moment))

    def _recent(self, now: float, window: int) -> dict[str, int]:
        return {s: n for s, n in self.calls.items() if abs(int(s) - int(now)) <= window}

    def _count(self, granted: int, now: float, window: int = WINDOW_SECONDS) -> None:
        second = str(int(now))
        self.calls = self._recent(now, window)
        self.calls[second] = self.calls.get(second, 0) + granted


class RateLimit:
    """One process's access to one vendor's limit; `per_minute` is what is set, 0: found."""

    def __init__(self, vendor: str, *, per_minute: int = 0, slack_seconds: int = 0) -> None:
        self.vendor = vendor
        self.key = f"limit:{vendor}"
        self.per_minute, self._slack = per_minute, slack_seconds
        self._free_at = 0.0

    @property
    def seconds_until_free(self) -> float:
        """Return after how many seconds asking again is worth it; 0 if it is now."""
        return max(self._free_at - time.monotonic(), 0.0)

    def take(self, wanted: int, *, unit: int = 1) -> int:
        """Take places for calls that start now; return how many there are.

        If there are fewer than wanted, it is a multiple of `unit` (calls that go together). In a
        transaction the others wait until it ends, so it should end soon.
        """
        if wanted <= 0 or self.seconds_until_free > 0:
            return 0
        with transaction.atomic(savepoint=False):
            state, now = self._locked()
            if limit := self.per_minute:
                granted, wait = state.take_within(
                    limit, wanted, unit=unit, slack=self._slack, now=now
                )
            else:
                granted, wait = state.take(wanted, unit=unit, now=now)
            if granted:
                SystemState.put(self.key, asdict(state))
        if wait:
            self._wait(wait)
        return granted

    def take_whole(self, sizes: Sequence[int]) -> int:
        """Take places for groups of calls, in order; return how many groups may start whole."""
        places = self.take(sum(sizes), unit=max(sizes, default=1))
        return sum(used <= places for used in accumulate(sizes))

    def refused(self, error: ProviderError, *, age_seconds: float, calls: int = 1) -> None:
        """Take in a refusal for the rate; the oldest of the calls started `age_seconds` ago."""
        with transaction.atomic(savepoint=False):
            state, now = self._locked()
            is_new = state.refuse(
                calls,
                asked_wait=error.retry_after_seconds,
                age=age_seconds,
                now=now,
                learn=not self.per_minute,
            )
            state.reason = str(error)
            SystemState.put(self.key, asdict(state))
        self._wait(state.until - now)
        if is_new:
            logger.info(
                "rate_limit_met",
                vendor=self.vendor,
                per_minute=round(state.per_minute) if state.per_minute else None,
                wait_seconds=round(state.until - now, 1),
            )

    def _wait(self, seconds: float) -> None:
        self._free_at = time.monotonic() + min(max(seconds, 0.05), _ASK_AGAIN_SECONDS)

    def _locked(self) -> tuple[LimitState, float]:
        """Return the state and the database's clock, under the row's lock."""
        value = SystemState.locked(self.key)
        return LimitState.parse(value), database_now().timestamp()
