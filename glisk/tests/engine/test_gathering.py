"""Which of the things that come are taken together; by a clock that only sleeping moves on."""

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


OFTEN = [number / 200 for number in range(100)]


@pytest.mark.parametrize(
    ("expected", "heard", "urgent", "patient", "seconds", "came"),
    [
        # A whole group is waited for no longer, of callbacks whatever calls are under way besides.
        (Expected(0, 3), [], [0.0], [0.01, 0.02], 0.02, (0, 3)),
        (Expected(2, 5), [0.0, 0.03], [], [], 0.03, (2, 0)),
        # What keeps a place is waited for by the window.
        (Expected(4, 5), [0.0, 0.0], [], [], WINDOW, (2, 0)),
        (Expected(20, 5), [], [0.0], [], WINDOW, (0, 1)),
        # So are notifications that nobody counts, as of mints: they are no group.
        (Expected(0, 5), [0.0], [], [], WINDOW, (1, 0)),
        # While the most of a group is missing, or more keeps coming, the window is doubled.
        (Expected(20, 5), [0.0] * 9, [], [], 2 * WINDOW, (9, 0)),
        (Expected(100, 0), OFTEN, [], [], 2 * WINDOW, (17, 0)),
        # What nothing waits for is patient, until a callback comes.
        (Expected(20, 5), [], [], [0.0, 0.1, LONG], 4 * WINDOW, (0, 2)),
        (Expected(2, 5), [0.05], [], [0.0], 0.05 + WINDOW, (1, 1)),
    ],
)
def test_what_comes_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    expected: Expected,
    heard: list[float],
    urgent: list[float],
    patient: list[float],
    seconds: float,
    came: tuple[int, int],
) -> None:
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
    assert clock.now - began == pytest.approx(seconds)
    assert (look().heard, look().results) == came
