"""The two charts of the dashboard: what an hour brings, and how long a reveal takes."""

from __future__ import annotations

from dataclasses import dataclass

from glisk.admin.formatting import duration
from glisk.console.charts import Chart, Series, band_chart, bar_chart
from glisk.console.overview import LastDay

_TICK_EVERY = 4  # hours


@dataclass(frozen=True)
class ChartPanel:
    title: str
    summary: str
    chart: Chart
    nothing: str  # said where there is nothing to draw


def pace_charts(day: LastDay) -> list[ChartPanel]:
    """Return the charts of the last day; the hours are in UTC."""
    names = [f"{hour.begins_at:%H:%M}" for hour in day.hours]
    minted = Series("minted", "minted", [float(hour.minted) for hour in day.hours])
    revealed = Series("revealed", "revealed", [float(hour.revealed) for hour in day.hours])
    half = Series("p50", "half within", [hour.p50_seconds for hour in day.hours])
    most = Series("p95", "95 % within", [hour.p95_seconds for hour in day.hours])
    timed = day.p50_seconds is not None
    return [
        ChartPanel(
            title="Tokens an hour",
            summary=f"{day.minted:,} minted, {day.revealed:,} revealed in 24 hours",
            chart=bar_chart(
                names, (minted, revealed), every=_TICK_EVERY, show=lambda value: f"{value:,.4g}"
            ),
            nothing="Nothing was minted in the last 24 hours.",
        ),
        ChartPanel(
            title="From mint to reveal",
            summary=f"half within {duration(day.p50_seconds)}, 95 % within "
            f"{duration(day.p95_seconds)}"
            if timed
            else "",
            chart=band_chart(names, half, most, every=_TICK_EVERY, show=duration),
            nothing="Nothing was revealed in the last 24 hours.",
        ),
    ]
