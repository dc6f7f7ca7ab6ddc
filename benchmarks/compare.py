"""Has anything become worse? Benchmarks at small sizes against benchmarks/baseline.json.

    python -m benchmarks.compare [NAME …]             print a table; status 1: something is worse
    python -m benchmarks.compare --baseline [NAME …]  write the baseline anew

Compared are ratios (see compared.toml): to the physical floor where there is one, else to a
calibration of the machine right before and after. How much more is too much follows from the
baseline's runs, of which some are of a busy machine; what looks worse is measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.__main__ import measure
from benchmarks.calibration import Calibration, Speed, calibration
from benchmarks.report import Result, machine_facts

COMPARED = tomllib.loads(Path(__file__).with_name("compared.toml").read_text())
STORED = Path(__file__).with_name("baseline.json")
KINDS = ("floor", "cpu", "time", "share", "size", "exact")
_AGAIN = 2  # times that what looks worse is measured again: it must be worse in all of them
SAME, BETTER, WORSE, NEW, MISSING = "same", "better", "WORSE", "new", "MISSING"

Ratios = dict[str, float]  # by "kind figure"
Runs = Mapping[str, Sequence[float]]


class Row(NamedTuple):
    figure: str
    before: float | None
    now: float | None
    verdict: str

    def __str__(self) -> str:
        before, now = (f"{x:12.5g}" if x is not None else f"{'-':>12}" for x in self[1:3])
        change = f"{self.now / self.before - 1:+8.1%}" if self.now and self.before else f"{'-':>8}"
        return f"{self.figure:44} {before} {now} {change}  {self.verdict}"


def ratios(part: Mapping[str, Any], result: Result, speed: Speed) -> Ratios:
    """Return what is compared of a result; a figure that it has no more is missing."""
    found: Ratios = {}
    by = {"cpu": speed.cpu_ms, "time": speed.wall_ms}
    for kind, names in compared(part):
        values = {name: result.figures[name] for name in names if name in result.figures}
        whole = sum(value for value in values.values() if isinstance(value, float))
        for name, figure in values.items():
            value, floor = figure if isinstance(figure, tuple) else (figure, 1.0)
            unit = {**by, "floor": floor, "share": whole}.get(kind, 1.0)
            found[f"{kind} {name}"] = float(f"{value / unit:.5g}")
    return found


def compared(part: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the kinds and the figures of a benchmark; of shares each group by itself."""
    for kind in KINDS:
        yield from ((kind, group) for group in part.get(kind, ()) if isinstance(group, list))
        yield kind, [name for name in part.get(kind, ()) if isinstance(name, str)]


def spreads(baseline: Iterable[Runs]) -> dict[str, float]:
    """Return by how much the runs of a figure differ, as a part of it: the middle of each kind."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for figures in baseline:
        for figure, runs in figures.items():
            if len(runs) > 1:
                found[figure.split()[0]].append((max(runs) - min(runs)) / (median(runs) or 1.0))
    return {kind: median(each or [0.0]) for kind, each in found.items()} | {"exact": 0.0}


def judge(name: str, stored: Runs, now: Ratios, usual: Mapping[str, float]) -> Iterator[Row]:
    """Yield a row for each figure of a benchmark.

    The same is what lies beyond the baseline's runs by less than they lie apart, divided by their
    number: of many, few lie beyond. Some lie close together by chance: no figure is taken to vary
    less than the middle one of its kind.
    """
    for figure in sorted(stored.keys() | now.keys()):
        runs, value = stored.get(figure), now.get(figure)
        verdict = MISSING if value is None else NEW if runs is None else SAME
        if runs is not None and value is not None:
            low, high = min(runs), max(runs)
            spread = max(high - low, usual[figure.split()[0]] * median(runs))
            slack = spread / len(runs)
            verdict = WORSE if value > high + slack else BETTER if value < low - slack else SAME
        yield Row(f"{name}: {figure}", median(runs) if runs else None, value, verdict)


def compare(names: Sequence[str], baseline: Mapping[str, Any], machine: Calibration) -> int:
    """Measure, print the table, and return the exit status."""
    usual = spreads(each["ratios"] for each in baseline.values())
    rows: list[Row] = []
    for name in names:
        stored = baseline.get(name, {}).get("ratios", {})
        now = _take(name, machine)
        for _ in range(_AGAIN):
            if all(row.verdict != WORSE for row in judge(name, stored, now, usual)):
                break
            again = _take(name, machine)
            now = {figure: min(value, again.get(figure, value)) for figure, value in now.items()}
        rows += judge(name, stored, now, usual)
    print(f"{'':44} {'baseline':>12} {'now':>12} {'change':>8}")
    print(*rows, sep="\n")
    bad = [row for row in rows if row.verdict in (WORSE, MISSING)]
    print(*(f"{row.verdict}: {row.figure}" for row in bad), sep="\n")
    return 1 if bad else 0


def _take(name: str, machine: Calibration) -> Ratios:
    print(f"{datetime.now(UTC):%H:%M:%S} {name} …", file=sys.stderr, flush=True)
    part, rounds = COMPARED[name], machine.rounds()
    result = measure(*part["command"].split())
    return ratios(part, result, Speed.of([*rounds, *machine.rounds()]))


def store(name: str, runs: Sequence[Ratios], *, added: bool = False) -> None:
    """Write a benchmark's runs into the baseline, in the place of what is there or besides."""
    baseline = json.loads(STORED.read_text()) if STORED.exists() else {}
    known = baseline.get(name, {}).get("ratios", {}) if added else {}
    figures = {each: [*known.get(each, ()), *(run[each] for run in runs)] for each in runs[0]}
    commit = subprocess.check_output(["git", "describe", "--always", "--dirty"], text=True)
    baseline[name] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "commit": commit.strip(),
        "machine": machine_facts(),
        "runs": max(map(len, figures.values())),
        "ratios": figures,
    }
    STORED.write_text(json.dumps(baseline, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMPARED))
    parser.add_argument("--full", action="store_true", help="the large sizes as well")
    parser.add_argument("--baseline", action="store_true", help="write it, compare nothing")
    parser.add_argument("--runs", type=int, default=2, help="of the baseline (default 2)")
    parser.add_argument("--add", action="store_true", help="to the runs that it has already")
    options = parser.parse_args(arguments)
    small = [name for name, part in COMPARED.items() if options.full or not part.get("full")]
    names = options.names or small
    if not options.baseline and not STORED.exists():
        print("There is no baseline yet: write one with `make bench-baseline`.", file=sys.stderr)
        return 1
    with calibration() as machine:
        if not options.baseline:
            return compare(names, json.loads(STORED.read_text()), machine)
        for name in names:
            runs = [_take(name, machine) for _ in range(options.runs)]
            store(name, runs, added=options.add)
    return 0


if __name__ == "__main__":
    sys.exit(main())
