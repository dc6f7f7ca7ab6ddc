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

from benchmarks.mutants import __main__ as mutants
from benchmarks.mutants.operators import OURS, use_operators


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
    assert mutants.without_annotations(changed) == mutants.without_annotations(code)


def test_equivalent_mutants_are_of_code_that_is_there() -> None:
    for each in tomllib.loads(mutants.EQUIVALENT.read_text())["mutant"]:
        code = " ".join((mutants.ROOT / each["module"]).read_text().split())
        assert " ".join(each["old"].split()) in code, each
        assert each["reason"].endswith(".")


# Judges three mutants by the tests of one file, and what becomes of tests that are not there.
JUDGE = """
import json
from pathlib import Path
from benchmarks.mutants import __main__ as mutants

FILE, MODULE = "webhooks/tests/test_alchemy_signature.py", Path("webhooks/authentication.py")
mutants.PRODUCTION = (FILE,)
mutants.CORE = (str(MODULE),)
mutants.use_operators()
mutants.record(mutants.PLACE / "reach", [FILE])
reach = mutants.Reach(mutants.PLACE / "reach", mutants.COPY)
lines = MODULE.read_text().splitlines()
with mutants.use_db(":memory:") as db:
    mutants.commands.init([MODULE], db, {})
    items = {}
    for item in sorted(db.work_items, key=mutants._place):
        one = item.mutations[0]
        line = lines[one.start_pos[0] - 1].strip()
        items.setdefault((one.operator_name.partition("/")[2], line), item)
    db.clear()
    chosen = [items[tuple(key)] for key in json.loads(CHOSEN)]
    db.add_work_items(chosen)
    mutants.judge_all(db, reach, "commit")
    results = dict(db.results)
    found = [results[item.job_id].output for item in chosen]
    reach.tests = lambda path, line: [FILE + "::test_that_is_gone"]
    reach.seconds = {FILE + "::test_that_is_gone": 1.0}
    try:
        found.append(mutants.judge_alone(chosen[0], reach)[0])
    except mutants.NotJudged:
        found.append("not judged")
print(json.dumps(found))
"""
CHOSEN = [
    ("RemoveCall", "raise AuthenticationFailed(reason)"),
    ("NumberReplacer", 'return cache.add(f"once-a-minute-{what}", True, timeout=60)'),
    ("NumberReplacer", "_ALARM_SECONDS: Final = 900.0"),  # it runs at import
]


def test_the_judge_does_not_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "PLACE", tmp_path / "mutants")
    monkeypatch.setattr(mutants, "COPY", tmp_path / "mutants" / "copy")
    monkeypatch.chdir(mutants.ROOT)  # and back at the end
    mutants.copy_commit()

    program = f"CHOSEN = {json.dumps(CHOSEN)!r}{JUDGE}"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)

    killer, *others = json.loads(done.stdout)
    assert killer.startswith("webhooks/tests/test_alchemy_signature.py::")
    assert others == ["commit", "commit", "not judged"]  # two survived
    subprocess.run(["git", "diff", "--exit-code"], check=True)  # nothing is left mutated


def test_a_stopped_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def judge(item: WorkItem, reach: object, forks: object) -> tuple[str, str]:
        judged.append(item.job_id)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return "" if len(judged) == 3 else "a test", ""

    monkeypatch.setattr(mutants, "in_forks", lambda work: work(None))
    monkeypatch.setattr(mutants, "judge_in_fork", judge)
    monkeypatch.setattr(mutants, "CORE", ("webhooks/authentication.py",))
    monkeypatch.chdir(mutants.ROOT)
    use_operators()
    with use_db(":memory:") as db:
        mutants.take_sample(db, 3, seed=1)
        reach: Any = None
        with pytest.raises(KeyboardInterrupt):
            mutants.judge_all(db, reach, "commit")
        assert db.num_results == 1
        mutants.judge_all(db, reach, "commit")
        assert (db.num_results, mutants.summary(db)["score_percent"]) == (3, 66.7)
        mutants.judge_all(db, reach, "commit after better tests")
        assert (len(judged), mutants.summary(db)["score_percent"]) == (5, 100)
