"""When a batch goes, and with how many."""

from datetime import UTC, datetime, timedelta

import pytest

from reveals.gate import Candidate, Waiting
from reveals.pipeline.compose import decide_departure

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


def waiting(ages: list[float]) -> list[Waiting]:
    nobody = Candidate(1, "0x", "", "", None, None)
    return [Waiting(nobody, NOW - timedelta(seconds=age)) for age in ages]


@pytest.mark.parametrize(
    ("ages", "others", "filling", "expected"),
    [
        pytest.param([], False, 0.0, (0, None), id="nothing to send"),
        pytest.param([], True, 0.0, (0, None), id="nothing yet"),
        pytest.param([0.0], False, 0.0, (1, None), id="alone, nobody comes"),
        pytest.param([0.0, 0.0], False, 0.0, (2, None), id="two, nobody comes"),
        pytest.param([0.0], True, 0.0, (0, 5.0), id="waits for company"),
        pytest.param([1.5, 0.2], True, 0.0, (0, 3.5), id="the oldest sets the clock"),
        pytest.param([0.2, 1.5], True, 0.0, (0, 3.5), id="in any order"),
        pytest.param([5.0, 0.0], True, 0.0, (2, None), id="waited long enough"),
        pytest.param([0.0] * 4, True, 0.0, (4, None), id="full"),
        pytest.param([0.0] * 9, True, 0.0, (4, None), id="more than full"),
        pytest.param([-3.0], True, 0.0, (0, 8.0), id="a clock ahead of ours"),
        pytest.param([600.0], True, 0.4, (0, 0.4), id="others are being checked"),
        pytest.param([600.0] * 4, True, 0.4, (4, None), id="full, and others are being checked"),
        pytest.param([1.0], True, 0.4, (0, 4.0), id="it waits longer anyway"),
    ],
)
def test_departure(
    ages: list[float], others: bool, filling: float, expected: tuple[int, float | None]
) -> None:
    departure = decide_departure(
        waiting(ages),
        others_on_their_way=others,
        at=NOW,
        max_tokens=4,
        wait_seconds=5.0,
        filling_seconds=filling,
    )
    assert len(departure.now) == expected[0]
    assert departure.wait_seconds == pytest.approx(expected[1])
