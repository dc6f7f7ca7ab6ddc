"""Run the trial: `python -m sandbox.chaos`; the status is 0 only if every cent is accounted for."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from sandbox.chaos.ledger import failures, find_faults, paid_again
from sandbox.chaos.trial import EVERYWHERE, PREDICTIONS, Outcome, Plan, Trial, world_of


def main() -> int:
    """Return 0 if nothing is wrong, 1 if something is."""
    plan = _plan()
    signal.signal(signal.SIGTERM, _interrupt)
    with (
        tempfile.TemporaryDirectory(prefix="glisk-chaos-", ignore_cleanup_errors=True) as directory,
        world_of(plan, Path(directory) / "world") as (world, node),
    ):
        world.start()
        outcome = Trial(world, node, plan, _say).run()
    return _report(plan, outcome)


def _plan() -> Plan:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m sandbox.chaos", description=__doc__)
    parser.add_argument("--tokens", type=int, default=usual.tokens, help=f"({usual.tokens})")
    parser.add_argument("--kills", type=int, default=usual.kills, help=f"kill -9 ({usual.kills})")
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"({usual.seed})")
    chosen = parser.parse_args()
    return Plan(tokens=chosen.tokens, kills=chosen.kills, seed=chosen.seed)


def _report(plan: Plan, outcome: Outcome) -> int:
    facts = outcome.facts
    revealed = sum(row["status"] == "revealed" for row in facts.tokens.values())
    faults = find_faults(facts)
    _say(f"{plan.tokens} tokens in {outcome.seconds:.0f} s, seed {plan.seed}")
    rates = {**EVERYWHERE, **PREDICTIONS}
    _say("rates: " + ", ".join(f"{name} {rate:.0%}" for name, rate in rates.items()))
    for name, count in sorted(outcome.faults.items()):
        _say(f"  {name}: {count}")
    _say(f"killed: {', '.join(outcome.kills) or 'nobody'}")
    _say(f"revealed {revealed}, failed {dict(failures(facts))}")
    _say(f"billed {len(facts.bill)} predictions for {len(facts.tokens)} tokens")
    _say(f"paid again, by what was wrong with the earlier one: {dict(paid_again(facts))}")
    for token in facts.tokens.values():
        if token["status"] == "failed":
            _say(f"  token {token['token_id']}: {token['generation_error']}")
    for fault in faults:
        _say(f"FAULT {fault}")
    _say("every cent is accounted for" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
