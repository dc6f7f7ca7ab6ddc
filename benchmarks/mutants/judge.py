"""Let the tests judge mutants: those that reach the line, the cheapest first."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from difflib import unified_diff
from importlib.util import cache_from_source
from itertools import takewhile
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_and_test, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from benchmarks.mutants.checkout import COPY, PLACE, digest, git
from benchmarks.mutants.forks import TIMEOUT, Forks, NoFork
from benchmarks.mutants.reach import PRODUCTION, Reach

# The emulators' tier, too: what stands in the apps' folders are the tests of the paid steps.
_OPTIONS = "-q -p no:cacheprovider -m 'fast or node or sandbox'"
_PYTEST = f"{sys.executable} -m pytest {_OPTIONS}"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
_NOT_JUDGED = "no tests ran"


class NotJudged(Exception):
    """The tests said neither yes nor no: a fault of the set-up, not of the mutant."""


def recorded_reach(commit: str) -> Reach:
    """Record which tests reach what: all tests for a new core, else those in changed files."""
    folder = PLACE / f"reach-{digest()}"
    stamp = folder / "commit"
    changed: list[str] = []
    if stamp.exists():
        names = git(COPY, "diff", "--name-only", stamp.read_text(), commit, "--", "*/test_*.py")
        changed = [name for name in names.splitlines() if (COPY / name).exists()]
    if changed or not stamp.exists():
        record(folder, changed)
        stamp.write_text(commit)
    return Reach(folder, COPY)


def record(folder: Path, files: Sequence[str] = ()) -> None:
    """Run the tests, or those of some files, and keep what each of them reached."""
    print("recording which tests reach which line …", file=sys.stderr)
    folder.mkdir(exist_ok=True)
    command = [*shlex.split(_PYTEST), "-n", "2", "-p", "benchmarks.mutants.reach"]
    environment = os.environ | {"GLISK_REACH": str(folder)}
    subprocess.run(
        [*command, *(files or PRODUCTION)], env=environment, stdout=sys.stderr, check=False
    )


def judge_all(db: WorkDB, reach: Reach, commit: str, *, seconds: float = math.inf) -> None:
    """Judge what has no result, and what survived the tests of another commit.

    They are taken in the sample's own order, which is random: those judged in time are one, too.
    """
    known = dict(db.results)
    pending = [
        x for x in db.work_items if x.job_id not in known or _is_old(known[x.job_id], commit)
    ]
    until = time.monotonic() + seconds

    def judge(forks: Forks) -> None:
        for item in takewhile(lambda _: time.monotonic() < until, pending):
            try:
                killer, diff = judge_in_fork(item, reach, forks)
            except NoFork:
                killer, diff = judge_alone(item, reach)
            outcome = TestOutcome.KILLED if killer else TestOutcome.SURVIVED
            result = WorkResult(WorkerOutcome.NORMAL, killer or commit, outcome, diff)
            db.set_result(item.job_id, result)
            where = f"{item.mutations[0].module_path}:{item.mutations[0].start_pos[0]}"
            print(f"{where} {killer or 'SURVIVED'}", file=sys.stderr, flush=True)

    if pending:
        in_forks(judge)


def in_forks(work: Callable[[Forks], None]) -> None:
    """Do some work where pytest would run the tests; raise `NotJudged` if it does not get there."""
    options = [*shlex.split(_OPTIONS), "-n", "0", "--timeout=60", *PRODUCTION]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        status = pytest.main(options, plugins=[Forks(work)])
    if status == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise NotJudged(f"pytest ended with {status}")


def _is_old(result: WorkResult, commit: str) -> bool:
    return survived(result) and result.output != commit


def survived(result: WorkResult) -> bool:
    return bool(result.test_outcome == TestOutcome.SURVIVED)


def judge_in_fork(item: WorkItem, reach: Reach, forks: Forks) -> tuple[str, str]:
    """Return what killed a mutant, if anything did, and the diff; raise `NoFork`."""
    one = item.mutations[0]
    tests = reach.tests(str(one.module_path), one.start_pos[0])
    # The file is changed, too, for processes that tests start.
    with use_mutation(one.module_path, get_operator(one.operator_name)(), one.occurrence) as codes:
        path = str(one.module_path.resolve())
        killer = forks.first_failure(tests, path, one.start_pos[0], codes, _limit(tests, reach))
    old, new = (code.splitlines() for code in codes)
    return killer, "\n".join(unified_diff(old, new, n=0, lineterm=""))


def judge_alone(item: WorkItem, reach: Reach) -> tuple[str, str]:
    """Do the same in a process of its own, for what runs when its module is imported."""
    one = item.mutations[0]
    tests = reach.tests(str(one.module_path), one.start_pos[0])
    (PLACE / "tests").write_text("\n".join(tests))
    # Compiled code is known by the second and the size of its source, which may be the same.
    Path(cache_from_source(str(one.module_path))).unlink(missing_ok=True)
    command = f"{_PYTEST} -x -n 0 --timeout=60 @{PLACE / 'tests'}" if tests else "true"
    result = mutate_and_test(item.mutations, command, timeout=_limit(tests, reach))
    text, diff = result.output or "", result.diff or ""
    if result.test_outcome == TestOutcome.INCOMPETENT or _NOT_JUDGED in text:
        raise NotJudged(f"{one}\n{text}")
    if survived(result):
        return "", diff
    failed = _FAILED.search(text)
    return TIMEOUT if text == TIMEOUT else failed[1] if failed else "the start of the tests", diff


def _limit(tests: Sequence[str], reach: Reach) -> float:
    return 120 + 5 * sum(reach.seconds[test] for test in tests)


def killers(db: WorkDB) -> set[str]:
    """Return the tests that killed mutants."""
    return {result.output or "" for _, result in db.results if "::" in (result.output or "")}


def check_untouched(tests: set[str]) -> None:
    """Run tests that killed without any mutant: a flaky one kills whatever it is given.

    Raises `NotJudged` if one fails.
    """
    git(COPY, "checkout", "--quiet", "--force", "HEAD")
    (PLACE / "tests").write_text("\n".join(sorted(tests)))
    command = [*shlex.split(_PYTEST), "-n", "0", f"@{PLACE / 'tests'}"]
    if tests and subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise NotJudged("tests that killed mutants fail without them, too")
