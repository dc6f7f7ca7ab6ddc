"""When a batch goes, and with how many."""

from datetime import UTC, datetime, timedelta

import pytest

from reveals.candidates import Waiting
from reveals.gate import Candidate
from reveals.pipeline.compose import decide_departure

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


def waiting(ages: list[float]) -> list[Waiting]:
    nobody = Candidate(1, "0x", "", "", None, None)
    return [Waiting(nobody, NOW - timedelta(seconds=age)) for age in ages]


@pytest.mark.parametrize(
    ("ages", "others", "expected"),
    [
        pytest.param([], False, (0, None), id="nothing to send"),
        pytest.param([], True, (0, None), id="nothing yet"),
        pytest.param([0.0], False, (1, None), id="alone, nobody comes"),
        pytest.param([0.0, 0.0], False, (2, None), id="two, nobody comes"),
        pytest.param([0.0], True, (0, 5.0), id="waits for company"),
        pytest.param([1.5, 0.2], True, (0, 3.5), id="the oldest sets the clock"),
        pytest.param([0.2, 1.5], True, (0, 3.5), id="in any order"),
        pytest.param([5.0, 0.0], True, (2, None), id="waited long enough"),
        pytest.param([600.0], True, (1, None), id="waited far too long"),
        pytest.param([0.0] * 4, True, (4, None), id="full"),
        pytest.param([0.0] * 9, True, (4, None), id="more than full"),
        pytest.param([-3.0], True, (0, 8.0), id="a clock ahead of ours"),
    ],
)
def test_departure(ages: list[float], others: bool, expected: tuple[int, float | None]) -> None:
    departure = decide_departure(
        waiting(ages),
        others_on_their_way=others,
        at=NOW,
        max_tokens=4,
        wait_seconds=5.0,
    )
    assert len(departure.now) == expected[0]
    assert departure.wait_seconds == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("ages", "filling", "expected"),
    [
        pytest.param([600.0], 0.4, (0, 0.4), id="others are being checked"),
        pytest.param([600.0], 0.0, (1, None), id="checked for long enough"),
        pytest.param([600.0] * 4, 0.4, (4, None), id="full"),
        pytest.param([1.0], 0.4, (0, 4.0), id="it waits longer anyway"),
    ],
)
def test_a_batch_fills_up_with_what_is_being_checked(
    ages: list[float], filling: float, expected: tuple[int, float | None]
) -> None:
    departure = decide_departure(
        waiting(ages),
        others_on_their_way=True,
        at=NOW,
        max_tokens=4,
        wait_seconds=5.0,
        filling_seconds=filling,
    )
    assert len(departure.now) == expected[0]
    assert departure.wait_seconds == pytest.approx(expected[1])


def test_without_patience_nobody_waits() -> None:
    departure = decide_departure(
        waiting([0.0]), others_on_their_way=True, at=NOW, max_tokens=4, wait_seconds=0.0
    )
    assert len(departure.now) == 1
