"""What became of the sample: counts, the score, and what survived."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB

from benchmarks.mutants.forks import TIMEOUT
from benchmarks.mutants.judge import survived
from benchmarks.mutants.sample import place

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
OUTCOMES = ("killed", "timeout", "survived", "equivalent")


def summary(db: WorkDB) -> dict[str, Any]:
    """Return counts, score and what survived, with the reason if it is equivalent."""
    found: dict[str, Counter[str]] = {}
    survivors = []
    equivalent = tomllib.loads(EQUIVALENT.read_text())["mutant"]
    reasons = {_key(**each): each["reason"] for each in equivalent}
    for item, result in sorted(db.completed_work_items, key=lambda pair: place(pair[0])):
        one = item.mutations[0]
        module, function = str(one.module_path), one.definition_name or ""
        outcome = "timeout" if result.output == TIMEOUT else "killed"
        if survived(result):
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
