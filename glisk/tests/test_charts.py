"""Charts are right in their proportions, and honest where nothing is known."""

import pytest

from glisk.console.charts import Series, band, bars, chart, nice_ceiling

NAMES = ["10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]


def test_an_axis_ends_at_a_round_number() -> None:
    values = (0, 0.04, 1, 1.1, 6, 30, 31, 1001)
    assert [nice_ceiling(value) for value in values] == pytest.approx(
        [1, 0.05, 1, 2, 10, 30, 50, 2000]
    )


def test_bars_are_as_high_as_their_values() -> None:
    minted = Series("minted", "minted", [10, 0, 5, None])
    revealed = Series("revealed", "revealed", [0.001, None, 10, 0])
    drawn = bars((minted, revealed))
    assert {(bar["kind"], round(bar["x"])): bar["height"] for bar in drawn} == {
        ("minted", 4): 100,
        ("revealed", 12): 1.5,  # little is not nothing
        ("minted", 54): 50,
        ("revealed", 62): 100,
    }
    assert all(bar["y"] + bar["height"] == 100 for bar in drawn)


def test_the_axes_and_what_is_said_of_a_column() -> None:
    minted = Series("minted", "minted", [10, 0, 5, None, 1, 1])
    found = chart(NAMES, (minted,), show=lambda value: f"{value:g}")
    assert found["rows"] == [(100, "0"), (50, "5"), (0, "10")]
    assert [name for _, name in found["ticks"]] == ["11:00", "15:00"]
    assert [title for _, title in found["columns"]][1:4] == [
        "11:00, minted 0",
        "12:00, minted 5",
        "13:00",
    ]
    assert not found["is_empty"]
    for nothing in (None, 0):
        assert chart(NAMES, (Series("p50", "half", [nothing] * 6),), show=str)["is_empty"]


def test_what_is_missing_interrupts_the_band() -> None:
    found = band(Series("p50", "half", [5, 5, None, 5]), Series("p95", "most", [10, 10, None, 10]))
    assert found["lines"] == [
        ("p95", "M 12.500 0.000 L 37.500 0.000"),
        ("p50", "M 12.500 50.000 L 37.500 50.000"),
        ("p95", "M 87.500 0.000 h 0.01"),  # a dot
        ("p50", "M 87.500 50.000 h 0.01"),
    ]
    assert len(found["areas"]) == 1
