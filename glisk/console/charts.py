"""The dashboard's charts: what an hour brings, and how long a reveal takes.

Their geometry is that of a box of 100 by 100, drawn as SVG by templates/admin/chart.html.

The box is stretched to its place, so labels are HTML beside it and lines keep their width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from glisk.admin.formatting import duration
from glisk.console.overview.last_day import LastDay

_STEPS = (1, 2, 3, 5, 10)
_GAP = 0.28  # of a column
_HEADROOM = 100.0
_TICK_EVERY = 4  # hours


@dataclass(frozen=True)
class Series:
    """Values of one kind, one for each column; None where there is nothing to show."""

    kind: str  # a CSS class: `is-<kind>`
    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Bar:
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    kind: str
    path: str


@dataclass(frozen=True)
class Column:
    """The place of one column, and what is said of it."""

    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Mark:
    """A label of an axis at so many hundredths."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    legend: tuple[tuple[str, str], ...]
    rows: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    columns: tuple[Column, ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    areas: tuple[str, ...] = ()
    is_empty: bool = False


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


def nice_ceiling(value: float) -> float:
    """Return the next of 1, 2, 3, 5, 10, 20, … that is not below a value."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in _STEPS if step * size >= value * (1 - 1e-9))


def bar_chart(
    names: Sequence[str], series: Sequence[Series], *, every: int, show: Callable[[float], str]
) -> Chart:
    """Return grouped bars; a label below every `every`-th column, counted from the last one."""
    ceiling, width = _ceiling(series), 100 / len(names)
    room = width * (1 - _GAP)
    each = room / len(series)
    bars = tuple(
        Bar(
            kind=line.kind,
            x=round(index * width + width * _GAP / 2 + place * each, 3),
            y=round(100 - height, 3),
            width=round(each * 0.92, 3),
            height=round(height, 3),
        )
        for place, line in enumerate(series)
        for index, value in enumerate(line.values)
        if value and (height := max(1.5, value / ceiling * _HEADROOM))
    )
    return replace(_frame(names, series, ceiling, every, show), bars=bars)


def band_chart(
    names: Sequence[str],
    low: Series,
    high: Series,
    *,
    every: int,
    show: Callable[[float], str],
) -> Chart:
    """Return two lines with the band between them; what is missing interrupts them."""
    ceiling, width = _ceiling((low, high)), 100 / len(names)
    lines, areas = [], []
    for run in _runs(low.values, high.values):
        above = [_point(i, high.values[i], width, ceiling) for i in run]
        below = [_point(i, low.values[i], width, ceiling) for i in run]
        lines += [Line(high.kind, _path(above)), Line(low.kind, _path(below))]
        if len(run) > 1:
            areas.append(_path([*above, *below[::-1]]) + " Z")
    frame = _frame(names, (low, high), ceiling, every, show)
    return replace(frame, lines=tuple(lines), areas=tuple(areas))


def _ceiling(series: Sequence[Series]) -> float:
    return nice_ceiling(max((v for line in series for v in line.values if v), default=0))


def _runs(*values: Sequence[float | None]) -> list[list[int]]:
    """Return the indices at which everything is known, in unbroken runs."""
    runs: list[list[int]] = []
    for index, found in enumerate(zip(*values, strict=True)):
        if any(value is None for value in found):
            continue
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _point(index: int, value: float | None, width: float, ceiling: float) -> tuple[float, float]:
    return (index + 0.5) * width, 100 - (value or 0) / ceiling * _HEADROOM


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path; a lone point becomes a line so short that it is a dot."""
    path = "M " + " L ".join(f"{x:.3f} {y:.3f}" for x, y in points)
    return path if len(points) > 1 else f"{path} h 0.01"


def _frame(
    names: Sequence[str],
    series: Sequence[Series],
    ceiling: float,
    every: int,
    show: Callable[[float], str],
) -> Chart:
    """Return a chart without its figures: legend, axes, and a column for each name."""
    width, last = 100 / len(names), len(names) - 1
    return Chart(
        legend=tuple((line.kind, line.name) for line in series),
        rows=tuple(Mark(100 - 50 * half, show(ceiling * half / 2)) for half in range(3)),
        ticks=tuple(
            Mark(round((i + 0.5) * width, 3), name)
            for i, name in enumerate(names)
            if (last - i) % every == 0
        ),
        columns=tuple(
            Column(round(i * width, 3), round(width, 3), _title(i, name, series, show))
            for i, name in enumerate(names)
        ),
        is_empty=not any(v for line in series for v in line.values),
    )


def _title(index: int, name: str, series: Sequence[Series], show: Callable[[float], str]) -> str:
    known = [(line.name, line.values[index]) for line in series]
    return ", ".join([name, *(f"{what} {show(v)}" for what, v in known if v is not None)])
