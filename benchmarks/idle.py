"""Everything runs and nothing happens: what does that cost?

CPU by the kernel's clocks, memory by /proc's proportional set size, statements by PostgreSQL's
own log. The chain makes blocks meanwhile, as it does in production; none holds a mint.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.report import Report, machine_facts, rounded
from benchmarks.scene import EMULATORS, PROGRAM, scene
from sandbox.world import WorldOptions

NAME = "idle"
# After a start, pools fill and schedules run for the first time.
SETTLE_SECONDS = 8.0
_PARTS = {
    "web": ("web",),
    "worker": ("worker",),
    "postgres": ("postgres",),
    "emulators": EMULATORS,
    "node": ("node",),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument(
        "--settle-seconds", type=float, default=SETTLE_SECONDS, help="wait before (default 8)"
    )


def run(options: argparse.Namespace) -> Report:
    """Start everything, wait for it to settle, and look at it for a while."""
    machine = machine_facts()
    with scene(NAME, WorldOptions()) as place:
        time.sleep(options.settle_seconds)
        place.statements.mark()
        started = time.monotonic()
        before = {part: place.usage(*kinds) for part, kinds in _PARTS.items()}
        time.sleep(options.seconds)
        after = {part: place.usage(*kinds) for part, kinds in _PARTS.items()}
        seconds = time.monotonic() - started
        statements = place.statements.since_mark()
        pss_mb = place.pss_mb(*PROGRAM)
        worker_pss_mb = place.pss_mb("worker")
    percent = {
        part: 100 * (after[part].cpu_seconds - before[part].cpu_seconds) / seconds
        for part in _PARTS
    }
    count = {part: after[part].processes for part in _PARTS}
    return Report(
        name=NAME,
        figures=rounded(
            {
                "cpu_percent": percent["web"] + percent["worker"],
                "pss_mb": pss_mb,
                "statements_per_s": statements.count / seconds,
                "web_cpu_percent": percent["web"],
                "worker_cpu_percent": percent["worker"],
                "worker_pss_mb": worker_pss_mb,
                "postgres_cpu_percent": percent["postgres"],
                "emulators_cpu_percent": percent["emulators"],
                "node_cpu_percent": percent["node"],
            }
        ),
        floor={"cpu_percent": 0.0, "statements_per_s": 0.0},
        machine=machine,
        notes=(
            f"{seconds:.0f} s without work; per cent of one core; {count['web']} web and "
            f"{count['worker']} worker processes make up cpu_percent and pss_mb",
            f"statements by the server's log: {dict(statements.by_tag.most_common(6))}",
        ),
    )
