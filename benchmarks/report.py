"""What a benchmark found: figures beside their physical floor, for people and for programs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What may be chosen: name, default, meaning.
Options = dict[str, tuple[float | str, str]]
# A figure, or a figure and what no program could go below in this set-up.
Figure = float | tuple[float, float]


@dataclass(frozen=True)
class Result:
    """Figures, whose names end in their unit; `notes` say how they were measured."""

    figures: dict[str, Figure]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """One benchmark's result on one machine."""

    name: str
    result: Result
    machine: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        figures, floor = {}, {}
        for name, figure in self.result.figures.items():
            value, least = figure if isinstance(figure, tuple) else (figure, None)
            figures[name] = round(float(value), 4)
            if least is not None:
                floor[name] = round(float(least), 4)
        return {"name": self.name, "figures": figures, "floor": floor, "machine": self.machine}

    def as_text(self) -> str:
        found = self.as_json()
        width = max(len(name) for name in found["figures"])
        lines = [self.name, f"  {'':{width}}  {'figure':>10}  {'floor':>10}"]
        for name, value in found["figures"].items():
            floor = found["floor"].get(name)
            beside = "" if floor is None else f"{floor:10.2f}"
            lines.append(f"  {name:{width}}  {value:10.2f}  {beside:>10}".rstrip())
        lines += [f"  {note}" for note in self.result.notes]
        facts = self.machine
        lines.append(
            f"  machine: {facts['cpus']} × {facts['cpu']}, {facts['memory_gb']} GB, "
            f"load {facts['load_before']} before"
        )
        return "\n".join(lines)


def percentile(values: list[float], part: float) -> float:
    """Return the smallest value that is not exceeded by this part (0 to 1) of the values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * part // 1) - 1)]


def machine_facts() -> dict[str, Any]:
    """Return what the figures depend on besides the program; call it before the work begins."""
    models = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": next(models, platform.machine()),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
