"""Mints flow while everything goes wrong, and nothing may be lost: `make chaos`.

Two workers, a web server, a database, a node and all vendors run as processes; a monkey
(`sandbox.chaos.monkey`) plays one trick after the other on them (`sandbox.chaos.tricks`). What must
be true is judged from outside, while it runs and at the end (`sandbox.chaos.ledger`). The status is
0 only if all is. A seed decides about everything random, so a failing seed plays the same tricks
again; how they meet the program is the machine's affair.
"""

from __future__ import annotations

import argparse
import random
import shutil
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
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg.rows import dict_row
from web3.exceptions import Web3Exception

from sandbox.accounts import KEEPER
from sandbox.chaos.cable import Cable
from sandbox.chaos.clock import Clock
from sandbox.chaos.ledger import Facts, find_faults, leaked_secrets, paid_again
from sandbox.chaos.monkey import Monkey
from sandbox.chaos.tricks import VENDORS, Zoo, usual_faults
from sandbox.demo.evidence import collect
from sandbox.demo.people import Minter, onboard_authors, plan_mints
from sandbox.faulty_rpc import FaultyRpc
from sandbox.world import Ports, World, WorldOptions

_SETTLE_SECONDS = 600.0
_LOOK_SECONDS = 3.0
# Operators, in the end: what the vendors or the pool refused for good is taken up again.
_RETRIES = 5
_TOKENS = "SELECT token_id, status, error_class, generation_error, metadata_cid FROM tokens_s0"
_JOBS = """
    SELECT id, token_id, external_id, status, error_class, error, cost_usd
    FROM image_generation_jobs ORDER BY id
"""
_LEFT = "SELECT count(*) FROM tokens_s0 WHERE status NOT IN ('revealed', 'failed')"
_OPEN = "SELECT count(*) FROM reveal_batches WHERE status = 'open'"
_NONCES = """
    SELECT DISTINCT nonce FROM reveal_transactions WHERE status IN ('confirmed', 'reverted')
    ORDER BY nonce
"""
_EDIT = "UPDATE authors SET prompt_text = 'a prompt of afterwards', prompt_is_public = true"
_LEFT_UNDONE = {
    "jobs": "SELECT count(*) FROM image_generation_jobs "
    "WHERE status NOT IN ('captured', 'failed', 'rejected')",
    "webhook events": "SELECT count(*) FROM webhook_events WHERE status IN ('received', 'failed')",
}


@dataclass(frozen=True)
class Plan:
    """`minutes` of mints and tricks, one trick every `pause_seconds`, by `seed`."""

    tokens: int = 1000
    minutes: float = 10.0
    pause_seconds: float = 3.0
    seed: int = 1


@dataclass
class Outcome:
    """What the run left; `seconds` runs from the first mint until every token has ended."""

    facts: Facts
    seconds: float
    tricks: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run(plan: Plan, directory: Path) -> Outcome:
    """Start the world and the bad node that its program talks to; try, and end them.

    One of the two workers has a cable of its own to all that it talks to, and a clock.
    """
    ports = Ports.free()
    with (
        FaultyRpc(ports.url("node"), seed=plan.seed) as node,
        World(directory, ports=ports, options=_options(node.url)) as world,
    ):
        world.start()
        with Cable(_far_ends(world, node)) as cable:
            clock = None
            with suppress(FileNotFoundError):
                clock = Clock(directory)
            world.add_worker(**_at_the_near_end(cable), **(clock.env if clock else {}))
            zoo = Zoo(world, node, cable, clock, random.Random(plan.seed))
            return _Trial(zoo, plan).run()


def _far_ends(world: World, node: FaultyRpc) -> dict[str, int | str]:
    (sockets,) = parse_qs(urlsplit(world.database_url()).query)["host"]
    vendors = {name: getattr(world.ports, name) for name in VENDORS}
    return {"database": f"{sockets}/.s.PGSQL.5432", "node": node.port, **vendors}


def _at_the_near_end(cable: Cable) -> dict[str, str]:
    """Return the environment of a worker that has only the cable; image URLs are the vendor's."""
    url = {name: f"http://127.0.0.1:{port}" for name, port in cable.ports.items()}
    return {
        "DATABASE_URL": f"postgres://postgres@127.0.0.1:{cable.ports['database']}/glisk",
        "RPC_URL": url["node"],
        "REPLICATE_BASE_URL": url["replicate"],
        "PINATA_API_URL": url["pinata"],
        "PINATA_GATEWAY": url["gateway"],
    }


def _options(rpc_url: str) -> WorldOptions:
    """Quick vendors, small pictures, short leases."""
    return WorldOptions(
        block_time=1.0,
        generation_seconds="0.3:1.0",
        pin_seconds="0.05:0.2",
        image_size=96,
        distinct_images=0,
        env={
            "DATABASE_URL": "",
            "WORKER_BATCH_SIZE": "20",
            "UPLOAD_CONCURRENCY": "20",
            "LEASE_SECONDS": "10",
            "TRANSACTION_TIMEOUT_SECONDS": "15",
            "RPC_URL": rpc_url,
            # The vendors refuse at random here, so there is no limit to be found.
            "REPLICATE_PREDICTIONS_PER_MINUTE": "60000",
            "PINATA_REQUESTS_PER_MINUTE": "60000",
        },
    )


class _Trial:
    """One run in a world that has been started."""

    def __init__(self, zoo: Zoo, plan: Plan) -> None:
        self._world, self._zoo, self._plan = zoo.world, zoo, plan
        self._minter = Minter(zoo.world.chain, plan_mints(plan.tokens, plan.seed))
        self._look_at, self._seen_block = 0.0, 0
        self._found: list[str] = []

    def run(self) -> Outcome:
        """Mint and misbehave; then let the world come to rest, and judge.

        Raises `TimeoutError` if it does not.
        """
        onboard_authors(self._world)
        self._world.wait_for_workers()
        for vendor in VENDORS:
            self._world.control(vendor, "faults", {"seed": self._plan.seed, **usual_faults(vendor)})
        self._zoo.calm_node()
        monkey = Monkey(self._zoo, pause_seconds=self._plan.pause_seconds)
        began = time.monotonic()
        while time.monotonic() - began < 60 * self._plan.minutes:
            self._mint_what_is_due((time.monotonic() - began) / (60 * self._plan.minutes))
            monkey.step()
            self._look()
            time.sleep(0.1)
        monkey.rest()
        for vendor in VENDORS:
            self._world.control(vendor, "faults", dict.fromkeys(usual_faults(vendor)))
        self._zoo.node.calm()
        self._come_to_rest()
        seconds = time.monotonic() - began
        self._look_at = 0.0
        self._look()
        facts = self._facts()
        faults = [*self._found, *find_faults(facts), *self._faults_of_the_whole()]
        return Outcome(facts, seconds, Counter(self._zoo.done), faults)

    def _mint_what_is_due(self, part: float) -> None:
        """Spread the mints over the first nine tenths of the time."""
        with suppress(OSError, Web3Exception, RuntimeError):
            minted = self._world.chain.next_token_id() - 1
            if minted < self._plan.tokens * min(1.0, part / 0.9):
                self._minter.step(self._world.chain.block_number())

    def _look(self) -> None:
        """See that what the chain was given is what the database wanted to give."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_SECONDS
        with suppress(OSError, Web3Exception, RuntimeError, psycopg.Error):
            block = self._world.chain.block_number()
            wanted = {row["token_id"]: row["metadata_cid"] for row in self._rows(_TOKENS)}
            for reveal in self._world.chain.reveal_transactions(self._seen_block):
                for token_id, uri in zip(reveal.token_ids, reveal.uris, strict=True):
                    if uri != f"ipfs://{wanted.get(token_id)}":
                        self._found.append(f"token {token_id} was given {uri}")
            self._seen_block = max(0, block - 12)  # a reorg may have replaced the newest

    def _come_to_rest(self) -> None:
        """Wait until all tokens are revealed; take up again what has failed, as operators do.

        Once all are detected, the authors change their prompts and open them: no token may change.
        """
        deadline, retries = time.monotonic() + _SETTLE_SECONDS, 0
        while True:
            with suppress(OSError, Web3Exception, RuntimeError, psycopg.Error):
                self._minter.step(self._world.chain.block_number())
                minted = self._world.chain.next_token_id() - 1
                if self._count("SELECT count(*) FROM tokens_s0") == self._plan.tokens:
                    self._execute(_EDIT)
                revealed = self._count("SELECT count(*) FROM tokens_s0 WHERE status = 'revealed'")
                if minted == self._plan.tokens == revealed and not self._count(_OPEN):
                    return
                if revealed and not self._count(_LEFT) and retries < _RETRIES:
                    retries += 1
                    self._world.manage("retry_failed", "--yes", "--reason", "the vendors are well")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not at rest: {self._rows(_TOKENS)[-20:]}")
            time.sleep(0.5)

    # -- what is true -----------------------------------------------------------------------

    def _faults_of_the_whole(self) -> list[str]:
        """Nonces without a gap, nothing left undone, no drift, no secret in any log."""
        faults = []
        mined = int(self._world.chain.rpc("eth_getTransactionCount", KEEPER.address, "latest"), 16)
        known = [row["nonce"] for row in self._rows(_NONCES)]
        if known != list(range(mined)):
            faults.append(f"the keeper has spent {mined} nonces, the ledger knows {known}")
        for name, sql in _LEFT_UNDONE.items():
            if left := self._count(sql):
                faults.append(f"{left} {name} are left undone")
        for command in (("check_drift",), ("recover_tokens", "--dry-run")):
            try:
                self._world.manage(*command)
            except RuntimeError as error:
                faults.append(str(error))
        return [*faults, *leaked_secrets(self._world)]

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
            provenance=self._world.manage("export_provenance").splitlines(),
            sources=(self._world.ports.url("gateway"), self._world.ports.url("node")),
        )

    def _count(self, sql: str) -> int:
        return int(next(iter(self._rows(sql)[0].values())))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        with psycopg.connect(self._world.database_url(), row_factory=dict_row) as session:
            return session.execute(sql.encode()).fetchall()

    def _execute(self, sql: str) -> None:
        with psycopg.connect(self._world.database_url()) as session:
            session.execute(sql.encode())


def main() -> int:
    """Return 0 if nothing is wrong, 1 if something is."""
    usual = Plan()
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--tokens", type=int, default=usual.tokens, help=f"({usual.tokens})")
    parser.add_argument("--minutes", type=float, default=usual.minutes, help=f"({usual.minutes})")
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"({usual.seed})")
    parser.add_argument(
        "--pause",
        dest="pause_seconds",
        metavar="SECONDS",
        type=float,
        default=usual.pause_seconds,
        help=f"between two tricks ({usual.pause_seconds})",
    )
    plan = Plan(**vars(parser.parse_args()))
    signal.signal(signal.SIGTERM, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="glisk-chaos-"))
    try:
        outcome = run(plan, directory / "world")
    except BaseException:
        _say(f"seed {plan.seed} did not come to its end; its logs are in {directory}")
        _say(_again(plan))
        raise
    if outcome.faults:
        _say(f"the logs are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return _report(plan, outcome)


def _report(plan: Plan, outcome: Outcome) -> int:
    facts = outcome.facts
    _say(f"{plan.tokens} tokens in {outcome.seconds:.0f} s")
    done = [(name, n) for name, n in outcome.tricks.items() if not name.startswith("(")]
    for name, count in sorted(done):
        _say(f"  {count:3} × {name}")
    _say(f"{sum(count for _, count in done)} tricks of {len(done)} kinds")
    for name in sorted(outcome.tricks.keys() - dict(done).keys()):
        _say(f"  {name}")
    _say(f"billed {len(facts.bill)} predictions for {len(facts.tokens)} tokens")
    _say(f"paid again, by what was wrong with the earlier one: {dict(paid_again(facts))}")
    for fault in outcome.faults:
        _say(f"FAULT {fault}")
    if outcome.faults:
        _say(f"seed {plan.seed}: {len(outcome.faults)} faults")
        _say(_again(plan))
        return 1
    _say(f"seed {plan.seed}: every promise was kept")
    return 0


def _again(plan: Plan) -> str:
    return (
        f"again by: make chaos ARGS='--seed {plan.seed} --tokens {plan.tokens} "
        f"--minutes {plan.minutes:g} --pause {plan.pause_seconds:g}'"
    )


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
