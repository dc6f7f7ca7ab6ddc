"""Everything runs and nothing happens: what does that cost?

CPU by the kernel's clocks, memory by /proc's proportional set size, statements by PostgreSQL's
own log. The chain makes blocks meanwhile, as it does in production; none holds a mint.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.report import Options, Result
from benchmarks.scene import PARTS, Scene
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "seconds": (60.0, "how long"),
    "settle_seconds": (8.0, "before: pools fill and schedules run for the first time"),
}


def settings(_options: argparse.Namespace) -> WorldOptions:
    return WorldOptions()


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Wait for everything to settle, and look at it for a while."""
    time.sleep(options.settle_seconds)
    with place.cost() as cost:
        time.sleep(options.seconds)
    pss_mb, worker_pss_mb = place.pss_mb("web", "worker"), place.pss_mb("worker")
    percent = {part: cost.cpu_ms(part, per=10 * cost.seconds) for part in PARTS}
    number = {part: cost.usage[part].processes for part in PARTS}
    return Result(
        {
            "cpu_percent": (percent["web"] + percent["worker"], 0.0),
            "pss_mb": pss_mb,
            "statements_per_s": (cost.statements.count / cost.seconds, 0.0),
            "worker_pss_mb": worker_pss_mb,
            **{f"{part}_cpu_percent": value for part, value in percent.items()},
        },
        (
            f"{cost.seconds:.0f} s without work; per cent of one core; {number['web']} web and "
            f"{number['worker']} worker processes make up cpu_percent and pss_mb",
            f"statements by the server's log: {cost.statements.tags()}",
        ),
    )
