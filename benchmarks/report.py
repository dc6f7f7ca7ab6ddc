"""What a benchmark found: figures beside their physical floor, for people and for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, float]


class NotHere(RuntimeError):
    """This machine does not let us measure it; the message says why."""


@dataclass(frozen=True)
class Report:
    """One benchmark's result; names of figures end in their unit.

    `floor` holds, under the same names, what no program could go below in this set-up; `notes`
    say how it was measured and are printed only.
    """

    name: str
    figures: Figures
    floor: Figures
    machine: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        del found["notes"]
        return found

    def as_text(self) -> str:
        width = max(len(name) for name in self.figures)
        lines = [self.name, f"  {'':{width}}  {'figure':>10}  {'floor':>10}"]
        for name, value in self.figures.items():
            floor = self.floor.get(name)
            beside = "" if floor is None else f"{floor:10.2f}"
            lines.append(f"  {name:{width}}  {value:10.2f}  {beside:>10}".rstrip())
        lines += [f"  {note}" for note in self.notes]
        facts = self.machine
        lines.append(
            f"  machine: {facts['cpus']} × {facts['cpu']}, {facts['memory_gb']} GB, "
            f"load {facts['load_before']} before"
        )
        return "\n".join(lines)


def rounded(figures: Figures) -> Figures:
    """Return the figures with as many digits as they can mean."""
    return {name: round(value, 4) for name, value in figures.items()}


def median_of(values: list[float]) -> float:
    """Return the median, and 0.0 if there is no value at all."""
    return float(median(values)) if values else 0.0


def machine_facts() -> dict[str, Any]:
    """Return what the figures depend on besides the program; call it before the work begins."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
