"""Charts are right in their proportions, and honest where nothing is known."""

import pytest

from glisk.console.charts import Series, band_chart, bar_chart, nice_ceiling

NAMES = ["10:00", "11:00", "12:00", "13:00"]


def whole(value: float) -> str:
    return f"{value:g}"


@pytest.mark.parametrize(
    ("value", "ceiling"),
    [(0, 1), (0.04, 0.05), (1, 1), (1.1, 2), (6, 10), (30, 30), (31, 50), (1001, 2000)],
)
def test_an_axis_ends_at_a_round_number(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == pytest.approx(ceiling)


def test_bars_are_as_high_as_their_values() -> None:
    minted = Series("minted", "minted", [10, 0, 5, None])
    revealed = Series("revealed", "revealed", [0.001, None, 10, 0])
    chart = bar_chart(NAMES, (minted, revealed), every=2, show=whole)
    heights = {(bar.kind, round(bar.x)): bar.height for bar in chart.bars}
    assert heights == {
        ("minted", 4): 100,
        ("revealed", 12): 1.5,  # little is not nothing
        ("minted", 54): 50,
        ("revealed", 62): 100,
    }
    assert all(bar.y + bar.height == 100 for bar in chart.bars)
    assert [(mark.at, mark.text) for mark in chart.rows] == [(100, "0"), (50, "5"), (0, "10")]
    assert [mark.text for mark in chart.ticks] == ["11:00", "13:00"]
    assert chart.columns[2].title == "12:00, minted 5, revealed 10"
    assert chart.columns[3].title == "13:00, revealed 0"
    assert not chart.is_empty


def test_what_is_missing_interrupts_the_band() -> None:
    low = Series("p50", "half", [5, 5, None, 5])
    high = Series("p95", "most", [10, 10, None, 10])
    chart = band_chart(NAMES, low, high, every=1, show=whole)
    assert [line.path for line in chart.lines] == [
        "M 12.500 0.000 L 37.500 0.000",
        "M 12.500 50.000 L 37.500 50.000",
        "M 87.500 0.000 h 0.01",  # a dot
        "M 87.500 50.000 h 0.01",
    ]
    assert len(chart.areas) == 1
    assert chart.columns[2].title == "12:00"


def test_nothing_is_said_to_be_nothing() -> None:
    nothing = Series("p50", "half", [None] * 4)
    assert band_chart(NAMES, nothing, nothing, every=1, show=whole).is_empty
    zero = Series("minted", "minted", [0] * 4)
    assert bar_chart(NAMES, (zero,), every=1, show=whole).is_empty
