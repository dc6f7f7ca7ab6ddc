"""The dashboard's charts: what an hour brings, and how long a reveal takes.

Their geometry is that of a box of 100 by 100, drawn as SVG by templates/admin/chart.html. The box
is stretched to its place, so labels are HTML beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from glisk.admin.formatting import duration
from glisk.console.overview.last_day import LastDay

_GAP = 0.28  # of a column
_LOWEST_BAR = 1.5  # little is not nothing
_TICK_EVERY = 4  # hours, counted from the last one


class Series(NamedTuple):
    """Values of one kind, one for each column; None where there is nothing to show."""

    kind: str  # a CSS class: `is-<kind>`
    name: str
    values: Sequence[float | None]


def pace_charts(day: LastDay) -> list[dict[str, Any]]:
    """Return the charts of the last day; the hours are in UTC."""
    names = [f"{hour.begins_at:%H:%M}" for hour in day.hours]
    numbers = (
        Series("minted", "minted", [hour.minted for hour in day.hours]),
        Series("revealed", "revealed", [hour.revealed for hour in day.hours]),
    )
    times = (
        Series("p50", "half within", [hour.p50_seconds for hour in day.hours]),
        Series("p95", "95 % within", [hour.p95_seconds for hour in day.hours]),
    )
    paces = f"half within {duration(day.p50_seconds)}, 95 % within {duration(day.p95_seconds)}"
    return [
        {
            **chart(names, numbers, show=lambda value: f"{value:,.4g}"),
            "title": "Tokens an hour",
            "summary": f"{sum(hour.minted for hour in day.hours):,} minted, "
            f"{day.revealed:,} revealed in 24 hours",
            "nothing": "Nothing was minted in the last 24 hours.",
        },
        {
            **chart(names, times, show=duration),
            "title": "From mint to reveal",
            "summary": paces if day.p50_seconds is not None else "",
            "nothing": "Nothing was revealed in the last 24 hours.",
        },
    ]


def chart(
    names: Sequence[str], series: Sequence[Series], *, show: Callable[[float], str]
) -> dict[str, Any]:
    """Return a chart of bars: those of a column, which a name stands for, beside each other."""
    most = max((value for line in series for value in line.values if value), default=0)
    width, last = 100 / len(names), len(names) - 1
    each = width * (1 - _GAP) / len(series)
    return {
        "is_empty": not most,
        "legend": [(line.kind, line.name) for line in series],
        "rows": [(100 - 50 * half, show(most * half / 2)) for half in range(3)],
        "ticks": [
            (round((i + 0.5) * width, 3), name)
            for i, name in enumerate(names)
            if (last - i) % _TICK_EVERY == 0
        ],
        "bar_width": round(each * 0.92, 3),
        "bars": [
            {
                "kind": line.kind,
                "x": round((i + _GAP / 2) * width + place * each, 3),
                "height": round(max(_LOWEST_BAR, 100 * value / most), 3),
                "title": f"{names[i]}, {line.name} {show(value)}",
            }
            for place, line in enumerate(series)
            for i, value in enumerate(line.values)
            if value
        ],
    }
