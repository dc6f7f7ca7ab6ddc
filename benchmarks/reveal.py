"""Tokens become ready, alone or a thousand at once: how soon are they broadcast and revealed?

A first worker, which reveals nothing, makes images and pins; then another one reveals. The clock
starts at the commit that makes the tokens ready, as the last pin's commit would; broadcasts and
blocks are timed by what the node announces.
"""

from __future__ import annotations

import argparse
import time
from statistics import mean, median

from benchmarks.report import Options, Result
from benchmarks.rpc_proxy import RpcProxy
from benchmarks.scene import Scene
from sandbox.world import WorldOptions
from tokens.transitions import REVEAL_CHANNEL

OPTIONS: Options = {
    "tokens": (1000, "ready at once"),
    "lone": (10, "ready one by one"),
    "block_seconds": (2, "from block to block"),
    "in_flight": (4, "transactions under way at once"),
    "batch": (50, "tokens in one"),
    "count_calls": (False, "count the calls to the node, by a proxy that takes milliseconds"),
}
BATCH = 50  # the contract's limit of one mint
BLOCK_GAS = 400_000_000
_READ_BACK = (
    "SELECT bool_and(read_back_at IS NOT NULL) FROM reveal_transactions WHERE status = 'confirmed'"
)


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(
        block_time=float(options.block_seconds),
        generation_seconds="0",
        pin_seconds="0",
        image_size=64,
        env={
            "ENABLE_REVEAL_WORKER": "false",
            "REVEAL_MAX_IN_FLIGHT": str(options.in_flight),
            "BATCH_REVEAL_MAX_TOKENS": str(options.batch),
        },
    )


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Reveal tokens one by one, then all others at once."""
    if not options.count_calls:
        return _measure(place, options)
    node_url = place.world.env["RPC_URL"]
    with RpcProxy(node_url) as proxy:
        place.world.env["RPC_URL"] = proxy.url
        try:
            return _measure(place, options, proxy)
        finally:
            place.world.env["RPC_URL"] = node_url


def _measure(place: Scene, options: argparse.Namespace, proxy: RpcProxy | None = None) -> Result:
    tokens, lone_times = options.tokens, []
    watch = place.watch
    ids = sorted(_prepare(place, options.lone + tokens, options.block_seconds))
    for token_id in ids[: options.lone]:
        ready_at, block = _make_ready(place, [token_id]), watch.newest
        (reveal,) = place.wait_for_reveals({token_id}, after=block)
        lone_times.append(watch.pending[reveal.tx_hash] - ready_at)
    if proxy:
        proxy.take()
    many, block = set(ids[options.lone :]), watch.wait_for_block(after=watch.newest)
    with place.cost() as cost:
        ready_at = _make_ready(place, list(many))
        reveals = place.wait_for_reveals(many, after=block)
        place.wait_for_state("revealed", many)
    # What follows the reveals holds up none of them, so it is no part of the figures.
    place.statements.wait_for(_READ_BACK, 90)
    traffic = proxy.take() if proxy else []
    last_revealed = max(watch.blocks[r.block_number] for r in reveals) - ready_at
    last_broadcast = max(watch.pending[r.tx_hash] for r in reveals) - ready_at
    full = [r for r in reveals if len(r.token_ids) == options.batch] or reveals
    gas = mean(reveal.gas_used / len(reveal.token_ids) for reveal in full)
    floor = -(-tokens * gas // BLOCK_GAS) * options.block_seconds  # the blocks that take them all
    return Result(
        {
            "tokens_per_s": (tokens / last_revealed, tokens / floor),
            "gas_per_token_at_50": gas,
            "lone_broadcast_s": (median(lone_times), 0.0),
            "lone_broadcast_worst_s": max(lone_times),
            "lone_broadcast_best_ms": 1000 * min(lone_times),
            "all_revealed_s": (last_revealed, floor),
            "last_broadcast_s": last_broadcast,
            "transactions": (len(reveals), -(-tokens // options.batch)),
            "cpu_ms_per_token": cost.cpu_ms("web", "worker", per=tokens),
            "postgres_cpu_ms_per_token": cost.cpu_ms("postgres", per=tokens),
            "rpc_requests_per_token": len(traffic) / tokens,
            "rpc_calls_per_token": sum(len(request.methods) for request in traffic) / tokens,
        },
        (
            f"{tokens} tokens ready in one commit, blocks {options.block_seconds} s",
            f"lone: {options.lone} tokens, each ready while nothing else is, until the node "
            "announces the pending transaction",
        ),
    )


def _prepare(place: Scene, tokens: int, block_seconds: int) -> set[int]:
    """Have tokens minted, painted and pinned; then start a worker that only reveals."""
    ids = place.send_mints(tokens, together=BATCH)
    place.mine(block_seconds=block_seconds)
    place.wait_for_state("ready", ids)
    place.stop_workers()
    # Back to where nobody takes them up, and waits for their company.
    place.statements.session.execute(
        "UPDATE tokens_s0 SET status = 'uploading', next_attempt_at = 'infinity'"
    )
    place.world.env |= {
        "ENABLE_IMAGE_WORKER": "false",
        "ENABLE_IPFS_WORKER": "false",
        "ENABLE_REVEAL_WORKER": "true",
    }
    place.world.add_worker()
    place.wait_for_drain("reveal")
    return ids


def _make_ready(place: Scene, ids: list[int]) -> float:
    """Make tokens ready and wake the reveal, as an upload's commit does; return when."""
    session = place.statements.session
    with session.transaction():
        session.execute(
            "UPDATE tokens_s0 SET status = 'ready', status_changed_at = now(), "
            "next_attempt_at = NULL WHERE token_id = ANY(%s)",
            [ids],
        )
        session.execute("SELECT pg_notify(%s, '')", [REVEAL_CHANNEL])
    return time.time()
