"""Change the core in small ways, one at a time, and see whether the tests notice.

    python -m benchmarks.mutants --sample 150 --seed 1 [--json FILE]

cosmic-ray makes the mutants and keeps what became of them. A mutant is killed if a test fails that
reaches its line: one of the tiers fast and node or, for the paid steps, one of the apps' own that
need the emulators. So many are asked, the cheapest first, as `--budget` allows. What is mutated is
a copy of the last commit, in var/mutants; there a run that was stopped goes on, and one after
better tests judges again what survived. `--fresh` begins anew. equivalent.toml lists mutants that
change nothing, and why.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from cosmic_ray.work_db import use_db

from benchmarks.mutants.checkout import COPY, PLACE, ROOT, copy_commit, digest, git
from benchmarks.mutants.judge import check_untouched, judge_all, killers, recorded_reach
from benchmarks.mutants.operators import use_operators
from benchmarks.mutants.sample import take_sample
from benchmarks.mutants.summary import as_text, summary
from benchmarks.report import machine_facts


def main(arguments: list[str] | None = None) -> int:
    """Judge a sample; return 0 if nine of ten mutants are killed or equivalent."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests for a mutant")
    parser.add_argument("--minutes", type=float, default=math.inf, help="judge no longer than that")
    parser.add_argument("--fresh", action="store_true", help="judge those again that were killed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args(arguments)
    if ROOT.parent != PLACE:  # the copy does the work, with the last commit's code
        given = sys.argv[1:] if arguments is None else arguments
        if options.json:
            given = [*given, "--json", str(options.json.absolute())]
        copy_commit()
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.mutants", *given])
    started = time.monotonic()
    try:
        report = run(options)
    except KeyboardInterrupt:
        for child in psutil.Process().children(recursive=True):
            child.kill()
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    report["seconds"] = round(time.monotonic() - started)  # of this run, if it went on
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(as_text(report))
    return int(report["score_percent"] < 90)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report on the last commit."""
    use_operators()
    machine = machine_facts()
    commit = git(COPY, "rev-parse", "--short=12", "HEAD")
    reach = recorded_reach(commit)
    reach.budget = options.budget
    with use_db(PLACE / f"{digest()}-{options.seed}-{options.sample}.sqlite") as db:
        if options.fresh or not db.num_work_items:
            take_sample(db, options.sample, options.seed)
        judge_all(db, reach, commit, seconds=60 * options.minutes)
        report = {"commit": commit, "seed": options.seed, **summary(db)}
        check_untouched(killers(db))
    return {**report, "machine": machine}


if __name__ == "__main__":
    sys.exit(main())
