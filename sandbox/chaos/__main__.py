"""A world in which everything goes wrong at once, and what came of it: `python -m sandbox.chaos`.

The status is 0 only if every cent is accounted for.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from sandbox.accounts import KEEPER
from sandbox.chaos.ledger import Facts, failures, find_faults, paid_again
from sandbox.demo.evidence import collect
from sandbox.demo.people import Minter, onboard_authors, plan_mints
from sandbox.faulty_rpc import FaultyRpc, refused_as_list
from sandbox.world import Ports, World, WorldOptions

# Of all calls of every vendor, and of all predictions; Replicate's clock is behind as well.
EVERYWHERE = {
    "throttle_rate": 0.10,
    "server_error_rate": 0.05,
    "drop_after_rate": 0.03,
    "error_after_rate": 0.03,
}
PREDICTIONS = {
    "nsfw_rate": 0.02,
    "flagged_rate": 0.01,
    "garbage_rate": 0.01,
    "clock_ahead_seconds": -90.0,
}
# How a model hands its images out, and in which words it refuses; others after each kill.
SHAPES = ("string", "nested", "object", "images", "objects", "deep")
REFUSALS = (
    "Request Moderated",
    "Your request was rejected as a result of our safety system.",
    "IMAGE_PROHIBITED_CONTENT",
)
# What the node takes and gives at once, and the least tip that its pool takes.
MOST_CALLS, MOST_BLOCKS = 20, 16
LEAST_TIP_WEI = 2_000_000
_VENDORS = ("replicate", "pinata", "gateway")
_LONGEST_SECONDS = 3600.0
_DONE = "SELECT count(*) FROM tokens_s0 WHERE status IN ('ready', 'revealed', 'failed')"
_ENDED = "SELECT count(*) FROM tokens_s0 WHERE status IN ('revealed', 'failed')"
_DRAIN = (
    "SELECT pid FROM worker_heartbeats WHERE stage = 'generation' ORDER BY beat_at DESC LIMIT 1"
)
_TOKENS = "SELECT token_id, status, error_class, generation_error, metadata_cid FROM tokens_s0"
_JOBS = """
    SELECT id, token_id, external_id, status, error_class, error, cost_usd
    FROM image_generation_jobs ORDER BY id
"""


@dataclass(frozen=True)
class Plan:
    """How many tokens, how many kill -9, and the seed that decides about everything random."""

    tokens: int = 1000
    kills: int = 10
    seed: int = 1


@dataclass
class Outcome:
    """What the run left; `kills` names the victims, `seconds` runs from the first mint."""

    facts: Facts
    seconds: float
    kills: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def run(plan: Plan) -> Outcome:
    """Start the world and the bad node that its program talks to; try, and end them."""
    ports = Ports.free()
    with (
        tempfile.TemporaryDirectory(prefix="glisk-chaos-", ignore_cleanup_errors=True) as directory,
        FaultyRpc(ports.url("node"), seed=plan.seed) as node,
        World(Path(directory) / "world", ports=ports, options=_options(node.url)) as world,
    ):
        world.start()
        with psycopg.connect(
            world.database_url(), autocommit=True, row_factory=dict_row
        ) as session:
            return _Trial(world, node, plan, session).run()


def _options(rpc_url: str) -> WorldOptions:
    """Two workers, quick vendors, small pictures."""
    return WorldOptions(
        block_time=1.0,
        generation_seconds="0.3:1.0",
        pin_seconds="0.05:0.2",
        image_size=96,
        distinct_images=8,
        workers=2,
        env={
            "DATABASE_URL": "",
            "WORKER_BATCH_SIZE": "20",
            "UPLOAD_CONCURRENCY": "20",
            "LEASE_SECONDS": "10",
            "LOG_LEVEL": "WARNING",
            "RPC_URL": rpc_url,
            # The vendors refuse at random here, so there is no limit to be found.
            "REPLICATE_PREDICTIONS_PER_MINUTE": "60000",
            "PINATA_REQUESTS_PER_MINUTE": "60000",
        },
    )


class _Trial:
    """One run in a world that has been started."""

    def __init__(
        self,
        world: World,
        node: FaultyRpc,
        plan: Plan,
        session: psycopg.Connection[dict[str, Any]],
    ) -> None:
        self._world, self._node, self._plan, self._session = world, node, plan, session
        self._rng = random.Random(plan.seed)
        self._kills: list[str] = []
        self._minter = Minter(world.chain, plan_mints(plan.tokens, plan.seed))

    def run(self) -> Outcome:
        """Mint, misbehave, kill; return when every token has come to its end.

        Raises `TimeoutError` if one does not.
        """
        onboard_authors(self._world)
        self._world.wait_for_workers()
        self._misbehave(EVERYWHERE, PREDICTIONS)
        self._node.lose_some(EVERYWHERE["drop_after_rate"])
        self._node.limit_batches(MOST_CALLS, refused_as_list(-32600, "batch too large"))
        self._node.limit_logs(MOST_BLOCKS, 503)
        self._node.set_tips(LEAST_TIP_WEI // 2)
        self._node.refuse_sends("FeeTooLowToCompete", below_tip_wei=LEAST_TIP_WEI)
        began = time.monotonic()
        moments = [
            int(self._plan.tokens * (number + self._rng.random()) / self._plan.kills)
            for number in range(self._plan.kills)
        ]
        while self._ask(_ENDED) < self._plan.tokens:
            if time.monotonic() - began > _LONGEST_SECONDS:
                raise TimeoutError(f"{self._ask(_ENDED)} of {self._plan.tokens} have ended")
            with suppress(OSError):
                self._minter.step(self._world.chain.block_number())
            if moments and self._ask(_DONE) >= moments[0]:
                moments.pop(0)
                self._kill()
                self._change_model()
            time.sleep(0.2)
        seconds = time.monotonic() - began
        self._misbehave(dict.fromkeys(EVERYWHERE, 0.0), dict.fromkeys(PREDICTIONS, 0.0))
        self._node.calm()
        return Outcome(self._facts(), seconds, self._kills, self._struck())

    def _misbehave(self, everywhere: dict[str, float], predictions: dict[str, float]) -> None:
        for name in _VENDORS:
            more = predictions if name == "replicate" else {}
            self._world.control(name, "faults", {"seed": self._plan.seed, **everywhere, **more})

    def _change_model(self) -> None:
        changed = {
            "seed": self._rng.randrange(1_000_000),
            "output_shape": self._rng.choice(SHAPES),
            "output_inline": self._rng.random() < 0.5,
            "refusal_text": self._rng.choice(REFUSALS),
            "refusal_in_logs": self._rng.random() < 0.5,
        }
        self._world.control("replicate", "faults", changed)

    def _kill(self) -> None:
        """Kill a process of a worker: every other time the one that makes the paid calls."""
        roots = [
            psutil.Process(service.pid)
            for name, service in self._world.services.items()
            if name.startswith("worker-") and service.is_running
        ]
        family = [each for root in roots for each in (root, *root.children(recursive=True))]
        victim = self._rng.choice(family) if family else None
        if len(self._kills) % 2 == 0:
            with suppress(psutil.NoSuchProcess):
                victim = psutil.Process(self._ask(_DRAIN))
        if victim is None:
            return
        with suppress(psutil.NoSuchProcess):
            kind = "generation drain" if victim.pid == self._ask(_DRAIN) else "process"
            kind = "qcluster itself" if victim in roots else kind
            victim.kill()
            self._kills.append(f"{kind} {victim.pid}")
            _say(f"killed {kind} {victim.pid} with {self._ask(_DONE)} tokens done")

    # -- what is true -----------------------------------------------------------------------

    def _facts(self) -> Facts:
        return Facts(
            tokens={row["token_id"]: row for row in self._rows(_TOKENS)},
            jobs=self._rows(_JOBS),
            bill=self._world.control("replicate", "bill")["entries"],
            predictions={
                found["id"]: found
                for found in self._world.control("replicate", "predictions")["predictions"]
            },
            evidence=collect(self._world, KEEPER.address),
        )

    def _struck(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for name in _VENDORS:
            for call in self._world.control(name, "calls")["calls"]:
                found[f"{name} {call['fault'] or 'calls without fault'}"] += 1
        found["node batches refused"] = sum(size > MOST_CALLS for size in self._node.batches)
        found["node logs refused"] = sum(width > MOST_BLOCKS for width in self._node.log_widths)
        found["node requests"] = len(self._node.batches)
        return found

    def _ask(self, sql: str) -> int:
        rows = self._rows(sql)
        return int(next(iter(rows[0].values()))) if rows else 0

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return self._session.execute(sql).fetchall()


def main() -> int:
    """Return 0 if nothing is wrong, 1 if something is."""
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m sandbox.chaos", description=__doc__)
    parser.add_argument("--tokens", type=int, default=usual.tokens, help=f"({usual.tokens})")
    parser.add_argument("--kills", type=int, default=usual.kills, help=f"kill -9 ({usual.kills})")
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"({usual.seed})")
    plan = Plan(**vars(parser.parse_args()))
    signal.signal(signal.SIGTERM, _interrupt)
    return _report(plan, run(plan))


def _report(plan: Plan, outcome: Outcome) -> int:
    facts, faults = outcome.facts, find_faults(outcome.facts)
    revealed = sum(row["status"] == "revealed" for row in facts.tokens.values())
    _say(f"{plan.tokens} tokens in {outcome.seconds:.0f} s, seed {plan.seed}")
    for name, count in sorted(outcome.faults.items()):
        _say(f"  {name}: {count}")
    _say(f"killed: {', '.join(outcome.kills) or 'nobody'}")
    _say(f"revealed {revealed}, failed {dict(failures(facts))}")
    _say(f"billed {len(facts.bill)} predictions for {len(facts.tokens)} tokens")
    _say(f"paid again, by what was wrong with the earlier one: {dict(paid_again(facts))}")
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
