"""What each step adds to a lone token's way, without what it waits for: the program's own time.

Blocks are mined when they are wanted, and vendors take next to no time. Moments are those at
which vendors and node received and answered each call, of blocks and broadcasts as the node
announces them, and those that the program noted in its tables. Of the tokens, the quickest tenth
counts: the rest is what a busy machine adds.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.report import Options, Result, percentile
from benchmarks.rpc_proxy import Request, RpcProxy
from benchmarks.scene import Scene
from sandbox.accounts import AUTHORS
from sandbox.world import WorldOptions

OPTIONS: Options = {
    "mints": (40, "how many, one by one"),
    "generation_seconds": (0.1, "the vendor's own time"),
}
QUICK = 0.1  # a part of all
_PIXELS = 128  # painted and decoded in next to no time
# What a step's claim or settle takes lies between two moments.
WAYS = {
    "webhook_ms": ("mined", "detected"),
    "order_claim_ms": ("detected", "ordered"),
    "order_settle_ms": ("answered", "submitted"),
    "collect_claim_ms": ("generated", "fetched"),  # the callback before it, too
    "collect_settle_ms": ("got", "uploading"),
    "pin_claim_ms": ("uploading", "pinned"),
    "pin_settle_ms": ("kept", "ready"),
    "verify_claim_ms": ("ready", "looked up"),
    "verify_settle_ms": ("found", "verified"),
    "compose_claim_ms": ("verified", "surveyed"),
    "compose_settle_ms": ("estimated", "composed"),
    "sign_ms": ("composed", "signed"),
    "send_claim_ms": ("signed", "sent"),
    "send_settle_ms": ("taken", "broadcast"),
    "receipts_settle_ms": ("included", "revealed"),
}
_NOTED = """
    SELECT to_status AS moment, created_at AS at FROM token_transitions WHERE token_id = {0}
    UNION ALL SELECT 'verified', verified_at FROM reveal_verifications WHERE token_id = {0}
    UNION ALL SELECT 'composed', b.created_at FROM reveal_batches b
        JOIN reveal_batch_tokens t ON t.batch_id = b.id WHERE t.token_id = {0}
    UNION ALL SELECT 'submitted', submitted_at FROM image_generation_jobs WHERE token_id = {0}
    UNION ALL SELECT 'signed', signed_at FROM reveal_transactions WHERE {0} = ANY(token_ids)
    UNION ALL SELECT 'broadcast', broadcast_at FROM reveal_transactions WHERE {0} = ANY(token_ids)
"""


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        block_time=1,
        generation_seconds=str(options.generation_seconds),
        pin_seconds="0",
        image_size=_PIXELS,
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Let the worker talk to the node through a proxy, and mint one token after the other."""
    node = place.world.ports.url("node")
    with RpcProxy(node) as proxy:
        _begin_anew(place, rpc_url=proxy.url)
        place.world.chain.set_block_time(0)
        found = [_follow_one(place, proxy, options) for _ in range(options.mints)]
        place.world.chain.set_block_time(1)
        _begin_anew(place, rpc_url=node)
    ways = {
        name: 1000 * percentile([at[end] - at[begin] for at in found], QUICK)
        for name, (begin, end) in WAYS.items()
    }
    return Result(
        {"all_ms": sum(ways.values()), **ways},
        (
            f"{options.mints} mints, the quickest tenth of each: "
            + ", ".join(f"{name} {begin} to {end}" for name, (begin, end) in WAYS.items()),
        ),
    )


def _begin_anew(place: Scene, *, rpc_url: str) -> None:
    place.stop_workers()
    place.world.env["RPC_URL"] = rpc_url
    place.world.add_worker()
    for stage in ("generation", "upload", "reveal"):
        place.wait_for_drain(stage)


def _follow_one(place: Scene, proxy: RpcProxy, options: argparse.Namespace) -> dict[str, float]:
    chain = place.world.chain
    token_id = chain.next_token_id()
    proxy.take()
    mint = chain.mint(1, AUTHORS[0].address)
    known, began = {*place.watch.pending, mint}, time.time()
    chain.mine()
    _wait_for_broadcast(place, known)
    chain.mine()
    place.wait_for_state("revealed", {token_id})
    noted = place.statements.rows(_NOTED.format(token_id))

    def calls(vendor: str, method: str, path: str) -> tuple[float, float]:
        """Return when the first of a kind came, and when the last was answered."""
        of_token = [c for c in place.calls(vendor, method, path) if c["received_at"] >= began]
        return min(c["received_at"] for c in of_token), max(c["answered_at"] for c in of_token)

    at = {"mined": began}
    at |= {row["moment"]: row["at"].timestamp() for row in noted}
    at["ordered"], at["answered"] = calls("replicate", "POST", "/predictions")
    at["generated"] = at["ordered"] + options.generation_seconds
    at["fetched"], at["got"] = calls("replicate", "GET", "/delivery")
    at["pinned"], at["kept"] = calls("pinata", "POST", "/pinning/")
    at["looked up"], at["found"] = calls("gateway", "GET", "/ipfs/")
    asked = proxy.take()
    at["surveyed"] = min(each.received_at for each in asked if each.received_at > at["verified"])
    (sending,) = _with("eth_sendRawTransaction", asked)
    at["sent"], at["taken"] = sending.received_at, sending.answered_at
    at["estimated"] = max(each.answered_at for each in _with("eth_estimateGas", asked))
    receipts = _with("eth_getTransactionReceipt", asked)
    at["included"] = max(r.answered_at for r in receipts if r.answered_at < at["revealed"])
    return at


def _with(method: str, requests: list[Request]) -> list[Request]:
    return [each for each in requests if method in each.methods]


def _wait_for_broadcast(place: Scene, known: set[str], timeout_seconds: float = 60.0) -> None:
    """Return once the node has announced a transaction besides those. Raises `TimeoutError`."""
    deadline = time.monotonic() + timeout_seconds
    while not place.watch.pending.keys() - known:
        if time.monotonic() > deadline:
            raise TimeoutError("no reveal was broadcast")
        time.sleep(0.01)
