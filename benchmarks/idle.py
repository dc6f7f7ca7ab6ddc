"""Everything runs and nothing happens: what does that cost?

CPU by the kernel's clocks, memory by /proc's proportional set size, statements by PostgreSQL's
own log. The chain makes blocks meanwhile, as it does in production; none holds a mint.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.instruments import pss_mb, tree_of
from benchmarks.report import Options, Result
from benchmarks.scene import PARTS, Scene
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "seconds": (60.0, "how long"),
    "settle_seconds": (8.0, "before: pools fill and schedules run for the first time"),
}


_STAGES = "SELECT pid, stage FROM worker_heartbeats"


def settings(_options: argparse.Namespace) -> WorldOptions:
    return WorldOptions()


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Wait for everything to settle, and look at it for a while."""
    time.sleep(options.settle_seconds)
    with place.cost() as cost:
        time.sleep(options.seconds)
    percent = {part: cost.cpu_ms(part, per=10 * cost.seconds) for part in PARTS}
    number = {part: cost.usage[part].processes for part in PARTS}
    return Result(
        {
            "cpu_percent": (percent["web"] + percent["worker"], 0.0),
            "pss_mb": place.pss_mb("web", "worker"),
            "statements_per_s": (cost.statements.count / cost.seconds, 0.0),
            "worker_pss_mb": place.pss_mb("worker"),
            **_pss_by_process(place),
            **{f"{part}_cpu_percent": value for part, value in percent.items()},
        },
        (
            f"{cost.seconds:.0f} s without work; per cent of one core; {number['web']} web and "
            f"{number['worker']} worker processes make up cpu_percent and pss_mb",
            f"statements by the server's log: {cost.statements.tags()}",
        ),
    )


def _pss_by_process(place: Scene) -> dict[str, float]:
    """Return the most MB that a process of each kind has: a worker's by what it does."""
    stages = {row["pid"]: row["stage"] for row in place.statements.rows(_STAGES)}
    found: dict[str, float] = {}
    for part in ("web", "worker"):
        roots = place.pids(part)
        for process in tree_of(roots):
            role = "master" if process.pid in roots else "child"
            name = f"{stages.get(process.pid, f'{part}_{role}')}_pss_mb"
            found[name] = max(found.get(name, 0.0), pss_mb([process]))
    return found
