"""Everything goes wrong, at a size that fits into CI; `make chaos` is more.

What is judged needs a judge that notices: he is shown forged books as well.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from sandbox.chaos.__main__ import Outcome, Plan, run
from sandbox.chaos.ledger import find_faults, paid_again

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(600)]

PLAN = Plan(tokens=100, minutes=2.0, pause_seconds=2.0, seed=1)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(PLAN, tmp_path_factory.mktemp("chaos") / "world")


def test_every_promise_is_kept(outcome: Outcome) -> None:
    assert outcome.faults == []
    assert len(outcome.facts.tokens) == len(outcome.facts.provenance) == PLAN.tokens
    # What was paid again was of no use before.
    reasons = paid_again(outcome.facts)
    assert "sound" not in reasons
    assert len(outcome.facts.bill) == PLAN.tokens + reasons.total()
    # The trial was one.
    assert len([name for name in outcome.tricks if not name.startswith("(")]) >= 16


def test_forged_books_are_noticed(outcome: Outcome) -> None:
    def faults_of(jobs: list[dict[str, object]], tokens: dict[int, dict[str, object]]) -> str:
        return "\n".join(find_faults(replace(outcome.facts, jobs=jobs, tokens=tokens)))

    jobs, tokens = deepcopy(outcome.facts.jobs), deepcopy(dict(outcome.facts.tokens))
    assert "0 times in the ledger" in faults_of(jobs[:-1], tokens)

    captured = next(job for job in jobs if job["status"] == "captured")
    found = faults_of([*jobs, {**captured, "id": captured["id"] + 1_000_000}], tokens)
    assert "paid again though" in found
    assert "2 times in the ledger" in found

    first, second = sorted(tokens)[:2]
    tokens[first]["status"] = "uploading"
    tokens[second] |= {"status": "failed", "error_class": "transient"}
    found = faults_of(jobs, tokens)
    assert f"token {first} is uploading" in found
    assert f"token {second} failed" in found
