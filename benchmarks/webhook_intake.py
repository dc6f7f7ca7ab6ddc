"""Signed events into the real web server with two workers: how many, and how soon answered?

A lean client sends mints over kept-alive connections, eight at once; its own CPU is told. Beside
it, in turns: the same server answering signed events in which nothing is to be done, without the
database.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.client import Result as Sent
from benchmarks.client import get, send
from benchmarks.report import Options, Result, percentile
from benchmarks.scene import Cost, Scene
from sandbox.accounts import AUTHORS, COLLECTORS, KEEPER
from sandbox.alchemy.emulator import BATCH_MINTED_TOPIC, render, sign
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "events": (1500, "per round"),
    "rounds": (5, "each beside events in which nothing is to be done"),
    "batches": (60, "mints of 50 tokens"),
    "reveal_seconds": (10.0, "while a reveal waits"),
    "reveal_rate": (40.0, "events a second then"),
}
CONNECTIONS = 8
TOKENS_AT_ONCE = 50
_FIRST_TOKEN = 1_000_000  # of mints that no chain knows; real ones start at 1
_SETTLE_SECONDS = 2.0
# No image is made for mints that no chain knows: the vendor "is out" while we measure.
_NO_GENERATION = json.dumps({"state": "open", "retry_at": "2999-01-01T00:00:00+00:00"})


@dataclass
class Measured:
    """What was found; a value for each round or batch."""

    single: list[Sent] = field(default_factory=list)
    nothing: list[Sent] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    lone_ms: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)
    batch_database_ms: list[float] = field(default_factory=list)


def settings(_options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(generation_seconds="0.2", pin_seconds="0.05", image_size=256)


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Send events while a reveal waits; then, with the worker stopped, as many as possible."""
    post = Postman(place)
    idle_reveal, during_reveal = _while_a_reveal_waits(place, post, options)
    place.stop_workers()
    post.mints(min(200, options.events))  # warm
    place.statements.session.execute("ANALYZE")
    found = Measured()
    for _ in range(options.rounds):
        place.statements.switch(on=False)
        found.nothing.append(post.nothing(options.events))
        with place.cost() as cost:
            found.single.append(post.mints(options.events))
        found.costs.append(cost)
        found.lone_ms += post.mints(options.batches, connections=1).latencies_ms
        port = place.world.ports.web
        found.health_ms += send([get("/health", port)] * options.batches, port=port).latencies_ms
    place.statements.switch(on=True)
    for _ in range(options.batches):
        place.statements.mark()
        post.mints(1, quantity=TOKENS_AT_ONCE, connections=1)
        found.batch_database_ms.append(place.statements.since_mark().server_ms)
    client = [1000 * each.cpu_seconds / len(each.latencies_ms) for each in found.single]
    return Result(
        {
            "single_per_s": (
                median(each.per_second for each in found.single),
                median(each.per_second for each in found.nothing),
            ),
            "single_p50_ms": (_across(found.single, 0.5), _across(found.nothing, 0.5)),
            "single_p95_ms": (_across(found.single, 0.95), _across(found.nothing, 0.95)),
            "lone_best_ms": (percentile(found.lone_ms, 0.1), percentile(found.health_ms, 0.1)),
            "batch50_p50_ms": median(found.batch_database_ms),
            "batch50_best_ms": percentile(found.batch_database_ms, 0.1),
            **{
                f"during_reveal_p{part}_ms": (
                    percentile(during_reveal.latencies_ms, part / 100),
                    percentile(idle_reveal.latencies_ms, part / 100),
                )
                for part in (95, 99)
            },
            "web_cpu_ms_per_event": _cpu_ms(found.costs, "web", options.events),
            "postgres_cpu_ms_per_event": _cpu_ms(found.costs, "postgres", options.events),
            "client_cpu_ms_per_event": median(client),
        },
        (
            f"{options.rounds} rounds of {options.events} events over {CONNECTIONS} connections; "
            "floor: events without logs",
            f"batch50: the database's own time for {TOKENS_AT_ONCE} tokens of one event",
            f"during_reveal: {options.reveal_rate:g} events a second between a reveal's "
            "broadcast and its receipt; floor: events without logs at that time",
        ),
    )


def _across(sent: list[Sent], part: float) -> float:
    """Return the median over the rounds of a percentile of their latencies, in ms."""
    return float(median(percentile(each.latencies_ms, part) for each in sent))


def _cpu_ms(costs: list[Cost], part: str, events: int) -> float:
    return float(median(cost.cpu_ms(part, per=events) for cost in costs))


def _while_a_reveal_waits(
    place: Scene, post: Postman, options: argparse.Namespace
) -> tuple[Sent, Sent]:
    """Mint, stop the blocks, and send between the reveal's broadcast and its receipt."""
    chain = place.world.chain
    block = int(chain.wait(chain.mint(1, AUTHORS[0].address))["blockNumber"])
    place.watch.wait_for_block(after=block - 1)
    chain.set_block_time(0)
    _wait_for_broadcast(place)
    place.statements.session.execute(
        "INSERT INTO system_state (state_key, state_value, updated_at) "
        "VALUES ('breaker:replicate', %s, now()) "
        "ON CONFLICT (state_key) DO UPDATE SET state_value = EXCLUDED.state_value",
        [_NO_GENERATION],
    )
    time.sleep(_SETTLE_SECONDS)  # until every process has read it
    events = max(1, round(options.reveal_rate * options.reveal_seconds))
    found = [ask(events, per_second=options.reveal_rate) for ask in (post.nothing, post.mints)]
    if chain.reveal_transactions(from_block=block):
        raise RuntimeError("the reveal was mined too soon")
    chain.mine()
    return found[0], found[1]


def _wait_for_broadcast(place: Scene, timeout_seconds: float = 30.0) -> None:
    """Return when the keeper's transaction is in the node's pool. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout_seconds
    keeper = KEEPER.address.lower()
    while keeper not in map(str.lower, place.world.chain.rpc("txpool_content")["pending"]):
        if time.monotonic() > deadline:
            raise TimeoutError("the token was not revealed; its block may have come too soon")
        time.sleep(0.05)


class Postman:
    """Sends signed events, as Alchemy does, with ids that were never used before."""

    def __init__(self, place: Scene) -> None:
        self._port = place.world.ports.web
        self._key = place.world.env["ALCHEMY_WEBHOOK_SECRET"]
        self._contract = place.world.env["GLISK_NFT_CONTRACT_ADDRESS"].lower()
        self._next = _FIRST_TOKEN

    def mints(
        self,
        events: int,
        *,
        quantity: int = 1,
        connections: int = CONNECTIONS,
        per_second: float = 0.0,
    ) -> Sent:
        """Send mints of so many tokens each. Raises `RuntimeError` if one is not taken in."""
        requests = [self._request(quantity) for _ in range(events)]
        return send(requests, port=self._port, connections=connections, per_second=per_second)

    def nothing(self, events: int, *, per_second: float = 0.0) -> Sent:
        """Send heartbeats: signed events without logs."""
        return self.mints(events, quantity=0, per_second=per_second)

    def _request(self, quantity: int) -> bytes:
        """Return one event in a block and a transaction of its own."""
        first = self._next
        self._next += max(1, quantity)
        body = render("wh_sandbox", f"whevt_{quantity}x{first}", self._event(first, quantity))
        head = (
            f"POST /webhooks/alchemy HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            "User-Agent: Apache-HttpClient/4.5.13 (Java/17)\r\nAccept-Encoding: gzip\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            f"X-Alchemy-Signature: {sign(self._key, body)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _event(self, first: int, quantity: int) -> dict[str, Any]:
        minter = COLLECTORS[0].address.lower()
        words = (int(minter, 16), int(AUTHORS[0].address, 16), first)
        log = {
            "data": f"0x{quantity:064x}{250_000_000_000_000 * quantity:064x}",
            "topics": [BATCH_MINTED_TOPIC, *(f"0x{word:064x}" for word in words)],
            "index": 2,
            "account": {"address": self._contract},
            "transaction": {
                "hash": f"0x{2**200 + first:064x}",
                "index": 0,
                "from": {"address": minter},
                "to": {"address": self._contract},
                "status": 1,
            },
        }
        block = {
            "hash": f"0x{2**201 + first:064x}",
            "number": first,
            "timestamp": 1_760_000_000 + 2 * first,
            "logs": [log] if quantity else [],
        }
        return {"data": {"block": block}, "sequenceNumber": str(10**19 + first)}
