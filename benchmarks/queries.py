"""What every turn of a worker asks, on tables of several sizes: does it grow with them?

Each query runs under EXPLAIN (ANALYZE, BUFFERS) and is taken back, on benchmarks/big_database.py
with as many tokens under way at every size. Beside a time stands that at the smallest size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import django

from benchmarks.big_database import empty, fill
from benchmarks.report import Figure, Options, Result
from benchmarks.scene import bare_world
from sandbox.world import BASE_DIR

OPTIONS: Options = {
    "sizes": ("10000,100000", "tokens in the database, one after the other"),
    "repeats": (7, "of each query"),
}
NAMES = (
    "survey_jobs", "claim_new", "claim_job", "claim_upload",
    "survey_ready", "open_batches", "rescue", "gap", "orphans",
)  # fmt: skip
_LIMIT = 10
_FILL_TIMEOUT_SECONDS = 1800


def run(options: argparse.Namespace) -> Result:
    """Fill a database again and again, in a process with the program's settings."""
    with bare_world("queries") as world:
        world.manage("migrate", "--verbosity", "0")
        printed = subprocess.run(
            [sys.executable, "-m", "benchmarks.queries", options.sizes, str(options.repeats)],
            cwd=BASE_DIR,
            env=world.env,
            check=True,
            timeout=_FILL_TIMEOUT_SECONDS,
            stdout=subprocess.PIPE,
        ).stdout
    small, *_, large = json.loads(printed)
    figures: dict[str, Figure] = {}
    for name in NAMES:
        for unit in ("ms", "rows", "pages"):
            figures[f"{name}_{unit}"] = large[name][unit], small[name][unit]
        growth = large[name]["rows"] / max(1.0, small[name]["rows"])
        figures[f"{name}_growth"] = max(1.0, growth), 1.0
    return Result(
        figures,
        (
            f"{options.sizes} tokens: the figure is that of the last, the floor that of the first; "
            f"claims of {_LIMIT}",
            "rows and pages (of 8 kB) are what the query looked at, whether or not it was wanted",
        ),
    )


def look(sizes: list[int], repeats: int) -> list[dict[str, dict[str, float]]]:
    """Return milliseconds, rows and pages of each query at each size."""
    found = []
    for tokens in sizes:
        empty()
        fill(tokens)
        asked = questions(tokens).items()
        found.append({name: _look_at(ask, repeats) for name, ask in asked})
    return found


def questions(tokens: int) -> dict[str, Callable[[], object]]:
    """Return what a worker asks of a database with these tokens."""
    from reveals.gate import read_ready_tokens
    from reveals.outbox import open_batches
    from tokens.models.job import JobStatus
    from tokens.pipeline.image_vendors import OpenJobs
    from tokens.recovery.gaps import missing_ranges
    from tokens.recovery.proof import settle_orphans
    from tokens.transitions import claims

    statuses = [JobStatus.SUBMITTED]
    asked = (
        OpenJobs().read,
        lambda: claims.claim_for_generation(owner="b", limit=_LIMIT),
        lambda: claims.claim_jobs(owner="b", limit=_LIMIT, statuses=statuses),
        lambda: claims.claim_for_upload(owner="b", limit=_LIMIT),
        read_ready_tokens,
        open_batches,
        claims.rescue_stalled,
        lambda: missing_ranges(tokens + 1, known_below=tokens - 999),
        settle_orphans,
    )
    return dict(zip(NAMES, asked, strict=True))


def _look_at(ask: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return what the statements of a question take together; the quickest time of several."""
    looks = [_explained(ask) for _ in range(repeats)]
    return {name: min(look[name] for look in looks) for name in ("ms", "rows", "pages")}


def _explained(ask: Callable[[], object]) -> dict[str, float]:
    from django.db import connection, transaction

    found = {"ms": 0.0, "rows": 0.0, "pages": 0.0}

    def explain(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if sql.lstrip().startswith(("SELECT", "WITH", "UPDATE")):
            cursor = context["cursor"]
            with transaction.atomic():
                cursor.cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters)
                (told,) = cursor.fetchone()[0]
                transaction.set_rollback(True)
            found["ms"] += told["Execution Time"]
            found["rows"] += _rows(told["Plan"])
            found["pages"] += told["Plan"]["Shared Hit Blocks"] + told["Plan"]["Shared Read Blocks"]
        return execute(sql, parameters, many, context)

    with transaction.atomic():
        with connection.execute_wrapper(explain):
            ask()
        transaction.set_rollback(True)
    return found


def _rows(plan: dict[str, Any]) -> float:
    """Return how many rows of tables a plan looked at, those that it threw away included."""
    rows = sum(_rows(each) for each in plan.get("Plans", ()))
    if "Relation Name" not in plan or plan["Node Type"] == "ModifyTable":
        return rows
    thrown = sum(number for name, number in plan.items() if name.startswith("Rows Removed by"))
    return float(rows + (plan["Actual Rows"] + thrown) * plan["Actual Loops"])


if __name__ == "__main__":
    django.setup()
    print(json.dumps(look([*map(int, sys.argv[1].split(","))], int(sys.argv[2]))))
