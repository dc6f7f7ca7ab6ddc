"""The breaker: opens for everybody, lets one probe through, and never stays shut by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from glisk import breaker as breaker_module
from glisk.breaker import Breaker
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.models import SystemState
from glisk.tests.waiting import at_once
from glisk.timing import timing

pytestmark = pytest.mark.django_db

DOWN = TransientError("It is down.", vendor="v")
BUSY = TransientError("Slow down.", vendor="v", rate_limited=True, retry_after_seconds=7.0)
REFUSED = AccountError("No credit.", vendor="v")


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "breaker_refresh", 0.0)


class Clock:
    """A clock that the test moves."""

    now = datetime(2026, 1, 1, tzinfo=UTC)

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(breaker_module, "database_now", lambda: made.now)
    return made


def stored() -> dict[str, Any]:
    return dict(SystemState.objects.get(state_key="breaker:v").state_value)


def opened(error: ProviderError = DOWN) -> Breaker:
    breaker = Breaker("v")
    while not breaker.failed(error):
        pass
    return breaker


def test_a_closed_breaker_writes_nothing() -> None:
    breaker = Breaker("v")
    assert breaker.places(5) == 5
    assert breaker.places(0) == 0
    breaker.succeeded()
    assert breaker.seconds_until_probe is None
    assert not SystemState.objects.exists()


def test_three_failures_in_a_row_open_it(clock: Clock) -> None:
    assert Breaker("v").failed(REFUSED)  # one of the account at once
    SystemState.objects.all().delete()
    breaker = Breaker("v")
    assert [breaker.failed(DOWN) for _ in range(2)] == [False, False]
    breaker.succeeded()
    assert [breaker.failed(DOWN) for _ in range(3)] == [False, False, True]
    assert breaker.places(5) == 0
    assert breaker.reason == "It is down."


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (REFUSED, timing.account_wait),
        (BUSY, 7.0),
        (TransientError("x", vendor="v", retry_after_seconds=100.0), 100.0),  # after the third
    ],
)
def test_a_refusal_opens_it_for_its_time(
    clock: Clock, error: ProviderError, seconds: float
) -> None:
    breaker = opened(error)
    assert breaker.seconds_until_probe == pytest.approx(seconds)
    clock.forward(seconds - 0.1)
    assert breaker.places(5) == 0
    clock.forward(0.2)
    assert breaker.places(5) == 1


def test_one_probe_decides(clock: Clock) -> None:
    breaker = opened()
    clock.forward(20)
    assert breaker.places(5) == 1
    assert breaker.places(5) == 0
    assert breaker.probing
    breaker.succeeded()
    assert breaker.places(5) == 5
    assert stored()["state"] == "closed"


def test_a_failed_probe_waits_longer_up_to_a_limit(clock: Clock) -> None:
    breaker = opened()
    waits = []
    for _ in range(8):
        waits.append(breaker.seconds_until_probe or 0.0)
        clock.forward(30)
        assert breaker.places(1) == 1
        assert breaker.failed(DOWN)
    assert waits[0] <= 1.0 < waits[2] < waits[3]
    assert max(waits) <= breaker_module.LONGEST_WAIT_SECONDS


@pytest.mark.django_db(transaction=True)
def test_of_two_processes_one_gets_the_probe(clock: Clock) -> None:
    opened()
    clock.forward(20)
    breakers = [Breaker("v") for _ in range(4)]
    for breaker in breakers:
        breaker.allowed(1)  # all have seen it due
    assert sum(at_once(4, lambda number: breakers[number].places(1))) == 1


def test_a_lost_probe_is_made_by_somebody_else(clock: Clock) -> None:
    lost = opened()
    clock.forward(20)
    assert lost.places(1) == 1
    other = Breaker("v")
    assert other.places(1) == 0
    clock.forward(timing.probe_window + 0.1)
    assert other.places(1) == 1
    other.succeeded()
    assert stored()["state"] == "closed"


def test_a_probe_without_anything_to_call_for_is_given_back(clock: Clock) -> None:
    breaker, other = opened(), Breaker("v")
    clock.forward(20)
    assert breaker.places(1) == 1
    breaker.give_probe_back()
    assert not breaker.probing
    assert other.places(1) == 1
    breaker.give_probe_back()  # nothing to give
    assert other.places(1) == 0


def test_the_answer_to_an_old_call_does_not_close_it(clock: Clock) -> None:
    unaware = Breaker("v")
    unaware.failed(DOWN)  # its view: closed, one failure
    opened().succeeded()
    assert stored()["state"] == "open"
    unaware.succeeded()
    assert stored()["state"] == "open"


def test_late_failures_count_only_if_they_ask_for_a_longer_wait(clock: Clock) -> None:
    """Ten calls were under way when the vendor went down."""
    breaker = opened()
    before = stored()
    for _ in range(7):
        assert breaker.failed(DOWN)
    assert stored() == before
    breaker.failed(REFUSED)
    assert breaker.seconds_until_probe == pytest.approx(timing.account_wait)
    assert breaker.reason == "No credit."
    breaker.failed(BUSY)
    assert breaker.reason == "No credit."


def test_whatever_is_stored_somebody_gets_through() -> None:
    for value in (
        {},
        {"state": "open"},
        {"state": "open", "retry_at": None},
        {"state": "open", "retry_at": "soon"},
        {"state": "open", "retry_at": "2020-01-01T00:00:00+00:00", "of_a_later_version": 1},
    ):
        SystemState.objects.update_or_create(pk="breaker:v", defaults={"state_value": value})
        breaker = Breaker("v")
        assert breaker.places(1) == 1
        breaker.failed(DOWN)
        Breaker("v").places(1)
    SystemState.objects.all().delete()  # by hand: that closes it
    assert breaker.places(4) == 4
