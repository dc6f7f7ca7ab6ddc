"""When a batch goes, and with how many."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from glisk.timing import timing
from reveals.gate import Candidate
from reveals.pipeline.compose import seconds_to_wait

NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ages", "filling", "expected"),
    [
        pytest.param([0.0], None, 5.0, id="waits for company"),
        pytest.param([1.5, 0.2], None, 3.5, id="the oldest sets the clock"),
        pytest.param([0.2, 1.5], None, 3.5, id="in any order"),
        pytest.param([5.0, 0.0], None, 0.0, id="waited long enough"),
        pytest.param([-3.0], None, 8.0, id="a clock ahead of ours"),
        pytest.param([600.0], 0.6, 0.4, id="others are being checked"),
        pytest.param([1.0], 0.6, 4.0, id="it waits longer anyway"),
    ],
)
def test_departure(
    settings: Settings, ages: list[float], filling: float | None, expected: float
) -> None:
    settings.BATCH_REVEAL_WAIT_SECONDS = 5
    assert timing.filling == 1.0
    company = [Candidate(1, "0x", "", "", NOW - timedelta(seconds=age)) for age in ages]
    since = None if filling is None else NOW - timedelta(seconds=filling)
    wait = seconds_to_wait(company, at=NOW, filling_since=since)
    assert wait == pytest.approx(expected)
