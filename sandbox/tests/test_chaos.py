"""Everything goes wrong at once, at a size that fits into CI; `python -m sandbox.chaos` is more.

What is judged needs a judge that notices: he is shown forged books as well.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from sandbox.chaos.__main__ import Outcome, Plan, run
from sandbox.chaos.ledger import Facts, find_faults, paid_again

pytestmark = [pytest.mark.usefixtures("anvil_binary"), pytest.mark.timeout(600)]

PLAN = Plan(tokens=40, kills=2, seed=1)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run(PLAN)


def test_every_token_ends_and_every_cent_is_accounted_for(outcome: Outcome) -> None:
    assert find_faults(outcome.facts) == []
    assert len(outcome.facts.tokens) == PLAN.tokens
    assert len(outcome.kills) == PLAN.kills
    # The trial was one: each kind of fault struck each vendor.
    for vendor in ("replicate", "pinata", "gateway"):
        for fault in ("throttle", "server_error", "drop_after"):
            assert outcome.faults[f"{vendor} {fault}"] > 0
    assert outcome.faults["node batches refused"] > 0


def test_what_was_paid_again_was_of_no_use_before(outcome: Outcome) -> None:
    reasons = paid_again(outcome.facts)
    assert "sound" not in reasons
    assert len(outcome.facts.bill) == PLAN.tokens + reasons.total()


def test_a_prediction_that_is_missing_in_the_ledger_is_noticed(outcome: Outcome) -> None:
    facts = forged(outcome.facts)
    facts.jobs.pop()
    assert any("0 times in the ledger" in fault for fault in find_faults(facts))


def test_a_sound_picture_that_was_paid_again_is_noticed(outcome: Outcome) -> None:
    facts = forged(outcome.facts)
    captured = next(job for job in facts.jobs if job["status"] == "captured")
    facts.jobs.append({**captured, "id": captured["id"] + 1_000_000})
    faults = find_faults(facts)
    assert any("paid again though" in fault for fault in faults)
    assert any("2 times in the ledger" in fault for fault in faults)


def test_a_token_without_a_true_end_is_noticed(outcome: Outcome) -> None:
    facts = forged(outcome.facts)
    first, second = sorted(facts.tokens)[:2]
    facts.tokens[first]["status"] = "uploading"
    facts.tokens[second] |= {"status": "failed", "error_class": "transient"}
    faults = find_faults(facts)
    assert f"token {first} is uploading" in faults
    assert any(fault.startswith(f"token {second} failed") for fault in faults)


def forged(facts: Facts) -> Facts:
    """Return a copy that may be changed."""
    return replace(facts, jobs=copy.deepcopy(facts.jobs), tokens=copy.deepcopy(dict(facts.tokens)))
