"""Which of the things that come are taken together; by a clock that only sleeping moves on."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from glisk.engine import step as engine_step
from glisk.engine.step import Came, Expected, gather

WINDOW = 0.04
LONG = 3600.0


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


Gathered = Callable[..., tuple[float, Came]]


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> Gathered:
    """Gather what comes at the given seconds; return how long that took, and what had come."""

    def run(
        expected: Expected, *, heard: list[float], urgent: list[float], patient: list[float]
    ) -> tuple[float, Came]:
        clock = Clock()
        monkeypatch.setattr(
            engine_step, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep)
        )
        began = clock.now

        def by_now(moments: list[float]) -> int:
            return sum(began + moment <= clock.now + 1e-9 for moment in moments)

        def look() -> Came:
            return Came(by_now(heard), by_now(urgent) + by_now(patient), by_now(urgent))

        gather(WINDOW, expected, look)
        return clock.now - began, look()

    return run


def test_a_whole_group_of_calls_is_waited_for_no_longer(gathered: Gathered) -> None:
    seconds, came = gathered(Expected(0, 3), heard=[], urgent=[0.0], patient=[0.01, 0.02])
    assert came.results == 3
    assert seconds == pytest.approx(0.02)


def test_a_whole_group_of_callbacks_is_waited_for_no_longer(gathered: Gathered) -> None:
    """Calls that are under way besides are not theirs."""
    seconds, came = gathered(Expected(2, 5), heard=[0.0, 0.03], urgent=[], patient=[])
    assert came.heard == 2
    assert seconds == pytest.approx(0.03)


def test_what_keeps_a_place_is_waited_for_by_the_window(gathered: Gathered) -> None:
    seconds, _ = gathered(Expected(4, 5), heard=[0.0, 0.0], urgent=[], patient=[])
    assert seconds == pytest.approx(WINDOW)
    seconds, _ = gathered(Expected(20, 5), heard=[], urgent=[0.0], patient=[])
    assert seconds == pytest.approx(WINDOW)


def test_while_the_most_of_a_group_is_missing_the_window_is_doubled(gathered: Gathered) -> None:
    seconds, _ = gathered(Expected(20, 5), heard=[0.0] * 9, urgent=[], patient=[])
    assert seconds == pytest.approx(2 * WINDOW)


def test_while_more_keeps_coming_the_window_is_doubled(gathered: Gathered) -> None:
    often = [number / 200 for number in range(100)]
    seconds, came = gathered(Expected(100, 0), heard=often, urgent=[], patient=[])
    assert seconds == pytest.approx(2 * WINDOW)
    assert came.heard == 17


def test_what_nothing_waits_for_is_patient(gathered: Gathered) -> None:
    seconds, came = gathered(Expected(20, 5), heard=[], urgent=[], patient=[0.0, 0.1, LONG])
    assert seconds == pytest.approx(4 * WINDOW)
    assert came.results == 2


def test_a_callback_ends_that_patience(gathered: Gathered) -> None:
    seconds, _ = gathered(Expected(2, 5), heard=[0.05], urgent=[], patient=[0.0])
    assert seconds == pytest.approx(0.05 + WINDOW)


def test_notifications_that_nobody_counts_are_no_group(gathered: Gathered) -> None:
    """Such as of mints: they are waited for by the window like others."""
    seconds, _ = gathered(Expected(0, 5), heard=[0.0], urgent=[], patient=[])
    assert seconds == pytest.approx(WINDOW)
