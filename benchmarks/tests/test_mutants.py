"""The judge of mutants does not lie: what breaks a promise is killed, what is harmless survives."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import WorkItem

from benchmarks.mutants import checkout, judge
from benchmarks.mutants.operators import OURS, use_operators
from benchmarks.mutants.sample import take_sample, without_annotations
from benchmarks.mutants.summary import EQUIVALENT, summary


@pytest.mark.parametrize("operator", OURS)
def test_our_operators_do_what_they_say(operator: type[Operator]) -> None:
    for example in operator.examples():
        changed = mutate_code(example.pre_mutation_code, operator(), example.occurrence)
        assert changed == example.post_mutation_code


@pytest.mark.parametrize(
    "code", ["def f(a: int | str) -> int | None: ...", "x: dict[str, int | None] = {}"]
)
def test_annotations_are_no_code(code: str) -> None:
    changed = code.replace("|", "&")
    assert without_annotations(changed) == without_annotations(code)


def test_equivalent_mutants_are_of_code_that_is_there() -> None:
    for each in tomllib.loads(EQUIVALENT.read_text())["mutant"]:
        code = " ".join((checkout.ROOT / each["module"]).read_text().split())
        assert " ".join(each["old"].split()) in code, each
        assert each["reason"].endswith(".")


# Judges three mutants by the tests of one file, and what becomes of tests that are not there.
JUDGE = """
import json
from pathlib import Path
from cosmic_ray import commands
from cosmic_ray.work_db import use_db
from benchmarks.mutants import judge
from benchmarks.mutants.checkout import COPY, PLACE
from benchmarks.mutants.operators import use_operators
from benchmarks.mutants.reach import Reach
from benchmarks.mutants.sample import place

FILE, MODULE = "webhooks/tests/test_alchemy_signature.py", Path("webhooks/authentication.py")
judge.PRODUCTION = (FILE,)
use_operators()
judge.record(PLACE / "reach", [FILE])
reach = Reach(PLACE / "reach", COPY)
lines = MODULE.read_text().splitlines()
with use_db(":memory:") as db:
    commands.init([MODULE], db, {})
    items = {}
    for item in sorted(db.work_items, key=place):
        one = item.mutations[0]
        line = lines[one.start_pos[0] - 1].strip()
        items.setdefault((one.operator_name.partition("/")[2], line), item)
    db.clear()
    chosen = [items[tuple(key)] for key in json.loads(CHOSEN)]
    db.add_work_items(chosen)
    judge.judge_all(db, reach, "commit")
    results = dict(db.results)
    found = [results[item.job_id].output for item in chosen]
    reach.tests = lambda path, line: [FILE + "::test_that_is_gone"]
    reach.seconds = {FILE + "::test_that_is_gone": 1.0}
    try:
        found.append(judge.judge_alone(chosen[0], reach)[0])
    except judge.NotJudged:
        found.append("not judged")
print(json.dumps(found))
"""
CHOSEN = [
    ("RemoveCall", "raise AuthenticationFailed(reason)"),
    ("NumberReplacer", 'return cache.add(f"once-a-minute-{what}", True, timeout=60)'),
    ("NumberReplacer", "_ALARM_SECONDS: Final = 900.0"),  # it runs at import
]


def test_the_judge_does_not_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "PLACE", tmp_path / "mutants")
    monkeypatch.setattr(checkout, "COPY", tmp_path / "mutants" / "copy")
    monkeypatch.chdir(checkout.ROOT)  # and back at the end
    checkout.copy_commit()

    program = f"CHOSEN = {json.dumps(CHOSEN)!r}{JUDGE}"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)

    killer, *others = json.loads(done.stdout)
    assert killer.startswith("webhooks/tests/test_alchemy_signature.py::")
    assert others == ["commit", "commit", "not judged"]  # two survived
    subprocess.run(["git", "diff", "--exit-code"], check=True)  # nothing is left mutated


def test_a_stopped_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def judge_one(item: WorkItem, reach: object, forks: object) -> tuple[str, str]:
        judged.append(item.job_id)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return "" if len(judged) == 3 else "a test", ""

    monkeypatch.setattr(judge, "in_forks", lambda work: work(None))
    monkeypatch.setattr(judge, "judge_in_fork", judge_one)
    monkeypatch.setattr(checkout, "CORE", ("webhooks/authentication.py",))
    monkeypatch.chdir(checkout.ROOT)
    use_operators()
    with use_db(":memory:") as db:
        take_sample(db, 3, seed=1)
        reach: Any = None
        with pytest.raises(KeyboardInterrupt):
            judge.judge_all(db, reach, "commit")
        assert db.num_results == 1
        judge.judge_all(db, reach, "commit")
        assert (db.num_results, summary(db)["score_percent"]) == (3, 66.7)
        judge.judge_all(db, reach, "commit after better tests")
        assert (len(judged), summary(db)["score_percent"]) == (5, 100)
