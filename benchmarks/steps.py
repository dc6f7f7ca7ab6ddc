"""What each step adds to a lone token's way, without what it waits for: the program's own time.

Blocks are mined when they are wanted, and vendors take next to no time. Moments are those at
which vendors and node received and answered each call, blocks and broadcasts as the node
announces them, and the timeline's last one. Of the tokens, the quickest tenth counts: the rest is
what a busy machine adds.
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
# What lies between two moments, and the steps whose work that is.
WAYS = {
    "order_ms": ("mined", "ordered"),  # webhook, order.claim
    "callback_ms": ("generated", "fetched"),  # webhook, collect.claim
    "collect_ms": ("got", "pinned"),  # collect.settle, pin.claim
    "pin_ms": ("kept", "looked up"),  # pin.settle, verify.claim
    "verify_ms": ("found", "surveyed"),  # verify.settle, compose.claim
    "compose_ms": ("estimated", "sent"),  # compose.settle, sign, send.claim
    "receipts_ms": ("included", "revealed"),  # receipts.settle
}
_REVEALED_AT = """
    SELECT extract(epoch FROM created_at)::float8 FROM token_transitions
    WHERE token_id = {} AND to_status = 'revealed'
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
    return Result(
        {
            name: 1000 * percentile([at[end] - at[begin] for at in found], QUICK)
            for name, (begin, end) in WAYS.items()
        },
        (
            f"{options.mints} mints: the quickest tenth of each",
            *(f"{name}: {begin} to {end}" for name, (begin, end) in WAYS.items()),
        ),
    )


def _begin_anew(place: Scene, *, rpc_url: str) -> None:
    place.stop_workers()
    place.world.env["RPC_URL"] = rpc_url
    place.world.add_worker()
    for stage in ("generation", "upload", "reveal"):
        place.wait_for_drain(stage)


def _follow_one(place: Scene, proxy: RpcProxy, options: argparse.Namespace) -> dict[str, float]:
    chain, watch = place.world.chain, place.watch
    token_id = chain.next_token_id()
    proxy.take()
    mint = chain.mint(1, AUTHORS[0].address)
    known, began = {*watch.pending, mint}, time.time()
    chain.mine()
    mint_block = int(chain.wait(mint)["blockNumber"])
    (reveal,) = _wait_for_broadcast(place, known)
    chain.mine()
    (seen,) = place.wait_for_reveals({token_id}, after=mint_block)
    place.wait_for_state("revealed", {token_id})
    revealed_at = place.statements.value(_REVEALED_AT.format(token_id))

    def calls(vendor: str, method: str, path: str) -> tuple[float, float]:
        """Return when the first of a kind came, and when the last was answered."""
        of_token = [c for c in place.calls(vendor, method, path) if c["received_at"] >= began]
        return min(c["received_at"] for c in of_token), max(c["answered_at"] for c in of_token)

    at = {"mined": watch.blocks[mint_block], "revealed": revealed_at}
    at["ordered"], _ = calls("replicate", "POST", "/predictions")
    at["generated"] = at["ordered"] + options.generation_seconds
    at["fetched"], at["got"] = calls("replicate", "GET", "/delivery")
    at["pinned"], at["kept"] = calls("pinata", "POST", "/pinning/")
    at["looked up"], at["found"] = calls("gateway", "GET", "/ipfs/")
    asked = proxy.take()
    at["surveyed"] = min(each.received_at for each in asked if each.received_at > at["found"])
    at["sent"] = min(each.received_at for each in _with("eth_sendRawTransaction", asked))
    at["estimated"] = max(each.answered_at for each in _with("eth_estimateGas", asked))
    receipts = _with("eth_getTransactionReceipt", asked)
    at["included"] = max(r.answered_at for r in receipts if r.answered_at < revealed_at)
    assert seen.tx_hash == reveal
    return at


def _with(method: str, requests: list[Request]) -> list[Request]:
    return [each for each in requests if method in each.methods]


def _wait_for_broadcast(place: Scene, known: set[str], timeout_seconds: float = 60.0) -> set[str]:
    """Return the transactions that the node has announced besides those, once there is one."""
    deadline = time.monotonic() + timeout_seconds
    while not (new := place.watch.pending.keys() - known):
        if time.monotonic() > deadline:
            raise TimeoutError("no reveal was broadcast")
        time.sleep(0.01)
    return new
