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
import ast
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from difflib import unified_diff
from hashlib import sha256
from importlib.util import cache_from_source
from itertools import islice, takewhile
from linecache import getline
from pathlib import Path
from typing import Any

import psutil
import pytest
from cosmic_ray import commands
from cosmic_ray.modules import find_modules
from cosmic_ray.mutating import MutationVisitor, mutate_and_test, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from benchmarks.mutants.forks import TIMEOUT, Forks, NoFork
from benchmarks.mutants.operators import use_operators
from benchmarks.mutants.reach import PRODUCTION, Reach
from benchmarks.report import machine_facts

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT.parent if ROOT.parent.name == "mutants" else ROOT / "var" / "mutants"
COPY = PLACE / "copy"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
# States, transitions, steps that pay, gate, fees, steps that sign, outbox, signatures, CIDs.
CORE = (
    "tokens/states.py",
    "tokens/transitions",
    *(f"tokens/pipeline/{name}.py" for name in ("image_vendors", "jobs", "order", "poll", "find")),
    *(f"tokens/pipeline/{name}.py" for name in ("collect", "failures", "pin", "samples")),
    *(f"reveals/{name}.py" for name in ("gate", "keeper", "outbox")),
    "reveals/pipeline",
    *(f"glisk/clients/signers/{name}.py" for name in ("__init__", "local")),
    "webhooks/authentication.py",
    "authors/signatures",
    "authors/signed_requests.py",
    "glisk/cid.py",
)
OUTCOMES = ("killed", "timeout", "survived", "equivalent")
# The emulators' tier, too: what stands in the apps' folders are the tests of the paid steps.
_OPTIONS = "-q -p no:cacheprovider -m 'fast or node or sandbox'"
_PYTEST = f"{sys.executable} -m pytest {_OPTIONS}"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
_NOT_JUDGED = "no tests ran"


class NotJudged(Exception):
    """The tests said neither yes nor no: a fault of the set-up, not of the mutant."""


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
    commit = _git(COPY, "rev-parse", "--short=12", "HEAD")
    reach = recorded_reach(commit)
    reach.budget = options.budget
    with use_db(PLACE / f"{digest()}-{options.seed}-{options.sample}.sqlite") as db:
        if options.fresh or not db.num_work_items:
            take_sample(db, options.sample, options.seed)
        judge_all(db, reach, commit, seconds=60 * options.minutes)
        report = {"commit": commit, "seed": options.seed, **summary(db)}
        check_untouched(killers(db))
    return {**report, "machine": machine}


def copy_commit() -> None:
    """Bring the copy to the last commit, and go there."""
    COPY.parent.mkdir(parents=True, exist_ok=True)
    if not COPY.exists():
        _git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(COPY))
    _git(COPY, "fetch", "--quiet", str(ROOT), "HEAD")
    _git(COPY, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    (ROOT / "var" / "test-postgres").mkdir(exist_ok=True)
    (COPY / "var").mkdir(exist_ok=True)
    for shared in ("sandbox/node_modules", "var/test-postgres"):
        if not (COPY / shared).exists():
            (COPY / shared).symlink_to(ROOT / shared)
    os.chdir(COPY)


def _git(where: Path, *arguments: str) -> str:
    found = subprocess.run(["git", "-C", where, *arguments], check=True, stdout=subprocess.PIPE)
    return found.stdout.decode().strip()


def core() -> list[Path]:
    return [path for name in CORE for path in sorted(find_modules([Path(name)]))]


def digest() -> str:
    """Name the state of the core, by which all that was found is kept."""
    return sha256(b"".join(path.read_bytes() for path in core())).hexdigest()[:12]


def recorded_reach(commit: str) -> Reach:
    """Record which tests reach what: all tests for a new core, else those in changed files."""
    folder = PLACE / f"reach-{digest()}"
    stamp = folder / "commit"
    changed: list[str] = []
    if stamp.exists():
        names = _git(COPY, "diff", "--name-only", stamp.read_text(), commit, "--", "*/test_*.py")
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


def take_sample(db: WorkDB, size: int, seed: int) -> None:
    """Leave in the session so many mutants, chosen at random of those that compile.

    A mutant's rank depends on itself alone: the sample stays what it is when other code changes.
    """
    commands.init(core(), db, {})
    alike: Counter[str] = Counter()
    ranked = {}
    for item in sorted(db.work_items, key=_place):
        one = item.mutations[0]
        line = getline(str(one.module_path.resolve()), one.start_pos[0]).strip()
        what = f"{seed} {one.module_path} {one.definition_name} {one.operator_name} {line}"
        alike[what] += 1
        ranked[sha256(f"{what} {alike[what]}".encode()).hexdigest()] = item
    db.clear()
    chosen = (item for _, item in sorted(ranked.items()) if _is_worth_judging(item))
    db.add_work_items(islice(chosen, size))
    print(f"{db.num_work_items} of about {len(ranked)} mutants", file=sys.stderr)


def _place(item: WorkItem) -> tuple[Any, ...]:
    one = item.mutations[0]
    return str(one.module_path), one.start_pos, one.operator_name, one.occurrence


def _is_worth_judging(item: WorkItem) -> bool:
    """Tell whether it compiles and is no annotation, which nothing reads at run time."""
    one = item.mutations[0]
    code = one.module_path.read_text()
    mutated = MutationVisitor.mutate_code(code, get_operator(one.operator_name)(), one.occurrence)
    try:
        return bool(without_annotations(mutated or code) != without_annotations(code))
    except SyntaxError:
        return False


def without_annotations(code: str) -> str:
    """Return what the code means at run time; raise `SyntaxError` if it means nothing."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


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
    return _survived(result) and result.output != commit


def _survived(result: WorkResult) -> bool:
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
    if _survived(result):
        return "", diff
    failed = _FAILED.search(text)
    return TIMEOUT if text == TIMEOUT else failed[1] if failed else "the start of the tests", diff


def _limit(tests: Sequence[str], reach: Reach) -> float:
    return 120 + 5 * sum(reach.seconds[test] for test in tests)


def summary(db: WorkDB) -> dict[str, Any]:
    """Return counts, score and what survived, with the reason if it is equivalent."""
    found: dict[str, Counter[str]] = {}
    survivors = []
    equivalent = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    reasons = {_key(**each): each["reason"] for each in equivalent}
    for item, result in sorted(db.completed_work_items, key=lambda pair: _place(pair[0])):
        one = item.mutations[0]
        module, function = str(one.module_path), one.definition_name or ""
        outcome = "timeout" if result.output == TIMEOUT else "killed"
        if _survived(result):
            old, new = changed_lines(result.diff or "")
            reason = reasons.get(_key(module, function, old, new))
            outcome = "equivalent" if reason else "survived"
            where = f"{module}:{one.start_pos[0]} {function}"
            survivors.append({"where": where, "old": old, "new": new, "reason": reason})
        found.setdefault(module, Counter())[outcome] += 1
    total = sum(found.values(), Counter())
    judged = total.total() - total["equivalent"]
    return {
        "sample": total.total(),
        **{name: total[name] for name in OUTCOMES},
        "score_percent": round(100 * (total["killed"] + total["timeout"]) / max(judged, 1), 1),
        "modules": {module: dict(counts) for module, counts in sorted(found.items())},
        "survivors": survivors,
    }


def _key(module: str, function: str, old: str, new: str, **_: str) -> tuple[str, ...]:
    return module, function, "".join(old.split()), "".join(new.split())


def killers(db: WorkDB) -> set[str]:
    """Return the tests that killed mutants."""
    return {result.output or "" for _, result in db.results if "::" in (result.output or "")}


def check_untouched(tests: set[str]) -> None:
    """Run tests that killed without any mutant: a flaky one kills whatever it is given.

    Raises `NotJudged` if one fails.
    """
    _git(COPY, "checkout", "--quiet", "--force", "HEAD")
    (PLACE / "tests").write_text("\n".join(sorted(tests)))
    command = [*shlex.split(_PYTEST), "-n", "0", f"@{PLACE / 'tests'}"]
    if tests and subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise NotJudged("tests that killed mutants fail without them, too")


def changed_lines(diff: str) -> tuple[str, str]:
    """Return what a mutant takes away and what it puts there."""
    lines = [x for x in diff.splitlines() if not x.startswith(("---", "+++", "@@"))]
    old, new = ("\n".join(x[1:].strip() for x in lines if x[:1] == sign) for sign in "-+")
    return old, new


def as_text(report: dict[str, Any]) -> str:
    """Return the report for people, and for docs/proof.md: a table and the survivors."""
    lines = ["| Module | Mutants | " + " | ".join(OUTCOMES) + " |", "|---|" + "--:|" * 5]
    for module, counts in {**report["modules"], "all": report}.items():
        numbers = [counts.get(name, 0) for name in OUTCOMES]
        lines.append("| " + " | ".join(map(str, [f"`{module}`", sum(numbers), *numbers])) + " |")
    for each in report["survivors"]:
        title = f"equivalent: {each['reason']}" if each["reason"] else "SURVIVED"
        lines += ["", f"{each['where']} {title}", f"- {each['old']}", f"+ {each['new']}"]
    told = "commit {commit}, seed {seed}, {sample} mutants, {seconds} s: {score_percent} % killed"
    return "\n".join([*lines, "", told.format(**report)])


if __name__ == "__main__":
    sys.exit(main())
