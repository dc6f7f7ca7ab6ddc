"""A vendor's limit is found by calling it; nobody told us of it."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from glisk.console.controls import list_rate_use
from glisk.console.overview.causes import find_causes
from glisk.errors import TransientError
from glisk.models import SystemState
from glisk.rate_limit import LimitState, RateLimit
from glisk.tests.waiting import at_once
from sandbox.http import RateLimit as VendorsLimit

ANSWER_SECONDS = 0.2


def refusal(wait: float | None = 1.0) -> TransientError:
    return TransientError("429", vendor="v", rate_limited=True, retry_after_seconds=wait)


class Sliding:
    """A vendor that counts the calls of the last 60 seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[float] = deque()

    def allow(self, per_minute: int, burst: int = 0) -> bool:
        now = self._clock()
        while self._calls and now - self._calls[0] >= 60:
            self._calls.popleft()
        if len(self._calls) >= per_minute:
            return False
        self._calls.append(now)
        return True

    @property
    def resets_at(self) -> float:
        return self._calls[0] + 60


class Played:
    """A caller on a made-up clock that always has work: ten pairs of calls under way at most."""

    def __init__(
        self,
        vendor: type[VendorsLimit] | type[Sliding],
        *,
        unit: int = 2,
        names_wait: bool = True,
        asks: float | None = None,
        burst: int = 0,
    ) -> None:
        self.now = 1_800_000_000.0
        self.began = self.now
        random.seed(7)  # the luck of the waits is the same in every run
        self.limit = 0  # what the vendor allows a minute
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self._found = LimitState()
        self._vendor = vendor(lambda: self.now)
        self._unit, self._names_wait, self._burst = unit, names_wait, burst
        self._asks = asks  # whatever the truth
        self._under_way: list[tuple[float, float, float | None, int]] = []

    def run(self, seconds: float, *, limit: int) -> None:
        """Call as fast as the found limit lets us, for so long."""
        self.limit, ends = limit, self.now + seconds
        while self.now < ends:
            self._take_answers()
            free = 10 - len(self._under_way)
            granted, _ = self._found.take(free * self._unit, unit=self._unit, now=self.now)
            for _ in range(granted // self._unit):
                self._call()
            self.now += 0.05

    def _call(self) -> None:
        refused = 0
        for _ in range(self._unit):
            if not self.limit or self._vendor.allow(self.limit, self._burst):
                self.accepted.append(self.now)
            else:
                refused += 1
                self.refused.append(self.now)
        wait = None
        if refused and self._asks is not None:
            wait = self._asks
        elif refused and self._names_wait:
            wait = float(max(1, math.ceil(self._vendor.resets_at - self.now)))
        answered = self.now + (0.02 if refused else ANSWER_SECONDS)
        heapq.heappush(self._under_way, (answered, self.now, wait, refused))

    def _take_answers(self) -> None:
        while self._under_way and self._under_way[0][0] <= self.now:
            _, asked, wait, refused = heapq.heappop(self._under_way)
            if refused:
                age = self.now - asked
                self._found.refuse(refused, asked_wait=wait, age=age, now=self.now, learn=True)

    def a_minute(self, first: float, last: float) -> float:
        """Return the accepted calls a minute between two moments of the play, in seconds."""
        times = [at - self.began for at in self.accepted]
        return 60 * sum(first <= at < last for at in times) / (last - first)

    def share_refused(self, since: float = 0.0) -> float:
        refused = sum(at - self.began >= since for at in self.refused)
        accepted = sum(at - self.began >= since for at in self.accepted)
        return refused / (accepted + refused)


VENDORS: dict[str, dict[str, Any]] = {
    "windows": {"vendor": VendorsLimit},
    "sliding": {"vendor": Sliding},
    "bucket of a minute": {"vendor": VendorsLimit, "burst": 250},
    "bucket of ten": {"vendor": VendorsLimit, "burst": 10},
    "calls one by one": {"vendor": VendorsLimit, "unit": 1},
    "no Retry-After": {"vendor": VendorsLimit, "names_wait": False},
}


@pytest.mark.parametrize("kind", VENDORS)
def test_nine_tenths_of_an_untold_limit_are_used_within_two_minutes(kind: str) -> None:
    play = Played(**VENDORS[kind])
    play.run(360, limit=250)
    assert play.a_minute(0, 120) >= 0.9 * 250
    assert play.a_minute(120, 360) >= 0.9 * 250
    assert play.share_refused(since=60) < 0.05
    if VENDORS[kind].get("names_wait", True):
        assert play.share_refused() < 0.05


@pytest.mark.parametrize("asks", [0.0, 0.1])
@pytest.mark.parametrize("vendor", [VendorsLimit, Sliding])
def test_a_vendor_that_asks_for_too_short_a_wait_is_not_called_in_vain(
    vendor: type[VendorsLimit] | type[Sliding], asks: float
) -> None:
    play = Played(vendor, asks=asks)
    play.run(360, limit=60)
    assert play.a_minute(120, 360) >= 0.8 * 60
    assert play.share_refused(since=120) < 0.4


def test_nothing_is_held_back_where_nobody_limits() -> None:
    play = Played(VendorsLimit)
    play.run(30, limit=0)
    assert play.a_minute(0, 30) >= 0.8 * 60 * 20 / ANSWER_SECONDS


@pytest.mark.parametrize("kind", ["windows", "bucket of ten"])
def test_a_limit_that_changes_is_found_anew_within_minutes(kind: str) -> None:
    play = Played(**VENDORS[kind])
    play.run(180, limit=60)
    assert play.a_minute(120, 180) <= 66
    play.run(240, limit=600)
    assert play.a_minute(360, 420) >= 0.9 * 600
    play.run(240, limit=60)
    assert play.a_minute(540, 660) >= 0.9 * 60
    assert play.share_refused(since=540) < 0.1


def test_the_time_that_the_vendor_asks_for_is_kept() -> None:
    found = LimitState()
    assert found.take(20, unit=2, now=100.0) == (20, 0.0)
    found.refuse(4, asked_wait=30.0, age=0.2, now=100.2, learn=True)
    assert found.take(20, unit=2, now=130.1)[0] == 0
    assert found.take(20, unit=2, now=130.2)[0] == 2
    found.refuse(1, asked_wait=7.0, age=30.1, now=130.3, learn=True)  # an older one comes late
    assert found.until == pytest.approx(137.3)
    assert found.take(20, unit=2, now=137.0)[0] == 0


def test_one_refusal_halves_the_pace_at_most() -> None:
    found = LimitState(per_minute=240.0, until=1000.0, next_at=1000.0)
    assert found.take(1, unit=1, now=1001.0)[0] == 1
    found.refuse(1, asked_wait=60.0, age=0.1, now=1001.1, learn=True)
    found.refuse(1, asked_wait=60.0, age=0.2, now=1001.2, learn=True)  # was under way by then
    assert found.per_minute == pytest.approx(120, rel=0.01)


def test_without_a_time_the_wait_grows_while_all_is_refused() -> None:
    found, now, waits = LimitState(), 1000.0, []
    for _ in range(9):
        found.take(1, unit=1, now=now)
        found.refuse(1, asked_wait=None, age=0.01, now=now + 0.05, learn=True)
        waits.append(found.until - now)
        now = found.until + 70.0
    assert waits[0] <= 1.1
    assert 3 <= waits[3] <= 8.1
    assert 8 <= waits[-1] <= 10.1


def test_a_rare_refusal_only_pauses() -> None:
    found = LimitState(per_minute=6000.0, until=1000.0, next_at=1000.0)
    taken = sum(found.take(10, unit=1, now=1000.0 + n / 10)[0] for n in range(20))
    assert taken > 80
    found.refuse(1, asked_wait=1.0, age=0.1, now=1002.0, learn=True)
    assert found.per_minute is not None
    assert found.per_minute >= 6000.0
    assert found.take(1, unit=1, now=1002.5)[0] == 0


def test_what_is_stored_by_others_is_read() -> None:
    values: list[Any] = [None, [], {"calls": {}, "odd": 1}, {"per_minute": None}]
    for value in values:
        assert LimitState.parse(value).take(3, unit=1, now=1000.0) == (3, 0.0)


# -- in the database ----------------------------------------------------------------------


@pytest.mark.django_db
def test_what_one_process_was_told_all_keep_to() -> None:
    one, other = RateLimit("v"), RateLimit("v")
    assert one.take(20) == 20
    one.refused(refusal(30.0), age_seconds=0.0, calls=5)
    assert one.take(1) == 0
    assert other.take(1) == 0
    assert other.seconds_until_free > 0
    (use,) = list_rate_use()
    assert (use["name"], use["used"]) == ("v", 20)
    assert use["per_minute"] is not None
    assert use["until"] is not None


@pytest.mark.django_db
def test_operators_see_for_a_minute_that_a_limit_was_met() -> None:
    RateLimit("pinata").take(20)
    assert find_causes() == []
    RateLimit("pinata").refused(refusal(30.0), age_seconds=0.0)
    (cause,) = find_causes()
    assert (cause.kind, cause.name) == ("limit", "pinata")
    assert "a minute" in cause.reason
    assert cause.retry_at is not None
    row = SystemState.objects.get(pk="limit:pinata")
    row.state_value |= {"until": time.time() - 61}
    row.save()
    assert find_causes() == []


@pytest.mark.django_db
def test_a_limit_that_was_set_is_kept_and_a_refusal_only_waited_for() -> None:
    assert RateLimit("v", per_minute=5).take(4, unit=2) == 4
    assert RateLimit("v", per_minute=5).take(4, unit=2) == 0
    RateLimit("v", per_minute=5).refused(refusal(0.0), age_seconds=0.0)
    assert RateLimit("v", per_minute=5).take(2) == 1
    assert [use["per_minute"] for use in list_rate_use()] == [None]
    RateLimit("v", per_minute=5).refused(refusal(30.0), age_seconds=0.0)
    assert RateLimit("v", per_minute=50).take(2) == 0


@pytest.mark.django_db(transaction=True)
def test_processes_together_keep_to_the_pace() -> None:
    pace, processes, seconds = 1200.0, 4, 0.8
    now = time.time()
    state = {"per_minute": pace, "until": now, "next_at": now}
    SystemState.objects.create(state_key="limit:v", state_value=state)

    def ask(_: int) -> tuple[int, float]:
        granted = 0
        while time.time() < now + seconds:
            with transaction.atomic():
                granted += RateLimit("v").take(7)
        return granted, time.time()

    ends = at_once(processes, ask)
    lasted = max(end for _, end in ends) - now
    granted = sum(number for number, _ in ends)
    assert 10 <= granted <= 1.1 * pace / 60 * (lasted + 0.25) + 1
