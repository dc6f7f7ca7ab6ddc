"""Several keepers at once, each with a sequence of nonces of its own: what does that bring?

The program has one keeper (docs/scale.md). Here each thread is one: it fills its places in flight
as the reveal drain does, by the program's simulation, fees, signer and receipts, without its gate
and without a database. No id is minted: the contract does not ask, and the gas is the same.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.report import Figure, Options, Result
from benchmarks.scene import Scene
from sandbox.node import BLOCK_GAS_LIMIT
from sandbox.world import World, WorldOptions

if TYPE_CHECKING:
    from glisk.clients.chain.codec import Receipt

OPTIONS: Options = {
    "keepers": (4, "at most; one first, then always twice as many"),
    "batches": (40, "of each keeper"),
    "tokens": (50, "in a batch"),
    "in_flight": (4, "transactions of a keeper under way at once"),
    "block_seconds": (2, "from block to block"),
}
_FIRST_TOKEN = 1_000_000
_LOOK_SECONDS = 0.2  # between two looks for receipts
_URI = "ipfs://Qm" + "a" * 44


@dataclass
class Round:
    """So many keepers at once: their receipts, and what they asked of the node."""

    keepers: int
    receipts: list[Receipt] = field(default_factory=list)
    requests: int = 0
    calls: int = 0
    seconds: float = 0.0  # from a block to the block of the last reveal
    cpu_seconds: float = 0.0  # of all keepers together
    node_cpu_seconds: float = 0.0

    @property
    def fullest_block_gas(self) -> int:
        gas = Counter[int]()
        for receipt in self.receipts:
            gas[receipt.block_number] += receipt.gas_used
        return max(gas.values())


def settings(options: argparse.Namespace) -> WorldOptions:
    return WorldOptions(block_time=float(options.block_seconds), workers=0)


def measure(place: Scene, options: argparse.Namespace) -> Result:
    """Let one keeper reveal, then two, then four, …; ids and nonces go on from round to round."""
    _use_settings_of(place.world)
    rounds: list[Round] = []
    while (number := 2 ** len(rounds)) <= options.keepers:
        rounds.append(_measure_round(place, number, options))
    batches = sum(len(each.receipts) for each in rounds)
    tokens = options.tokens * batches
    gas = sum(receipt.gas_used for each in rounds for receipt in each.receipts) / tokens
    figures: dict[str, Figure] = {}
    for each in rounds:
        at_once = min(each.keepers * options.in_flight * options.tokens, BLOCK_GAS_LIMIT / gas)
        speed = len(each.receipts) * options.tokens / each.seconds
        figures |= {
            f"tokens_per_s_{each.keepers}": (speed, at_once / options.block_seconds),
            f"fullest_block_share_{each.keepers}": each.fullest_block_gas / BLOCK_GAS_LIMIT,
            f"cpu_percent_{each.keepers}": 100 * each.cpu_seconds / each.seconds,
            f"node_cpu_percent_{each.keepers}": 100 * each.node_cpu_seconds / each.seconds,
        }
    return Result(
        figures
        | {
            "gas_per_token": gas,
            "cpu_ms_per_token": 1000 * sum(each.cpu_seconds for each in rounds) / tokens,
            "requests_per_batch": sum(each.requests for each in rounds) / batches,
            "calls_per_batch": sum(each.calls for each in rounds) / batches,
        },
        (
            f"each keeper: {options.batches} batches of {options.tokens}, {options.in_flight} in "
            f"flight, blocks of {options.block_seconds} s and {BLOCK_GAS_LIMIT:,} gas",
            "tokens_per_s_N: N keepers at once; beside it what their places, or the blocks' gas, "
            "allow. cpu_percent: of all keepers in one process; a hundred would be its limit",
        ),
    )


def _use_settings_of(world: World) -> None:
    """Have the program's modules at hand in this process, for the world's chain and contract."""
    import django
    from django.conf import settings as ours

    if not ours.configured:
        os.environ.update(world.env)
        django.setup()


def _measure_round(place: Scene, number: int, options: argparse.Namespace) -> Round:
    from eth_account import Account

    found, span = Round(number), options.batches * options.tokens
    keys = [f"0x{index + 1:064x}" for index in range(number)]
    for key in keys:
        address = Account.from_key(key).address
        place.world.chain.deploy(address)
        place.world.chain.set_balance(address, 10**18)
    firsts = [_FIRST_TOKEN * number + span * index for index in range(number)]
    reveal = partial(_reveal, place.world.ports.url("node"), options, found)
    began, cpu = place.watch.wait_for_block(after=place.watch.newest), time.process_time()
    with place.cost() as cost, ThreadPoolExecutor(number) as pool:
        list(pool.map(reveal, keys, firsts))
    found.cpu_seconds = time.process_time() - cpu
    found.node_cpu_seconds = cost.usage["node"].cpu_seconds
    last = max(receipt.block_number for receipt in found.receipts)
    found.seconds = place.watch.blocks[last] - place.watch.blocks[began]
    return found


def _reveal(url: str, options: argparse.Namespace, found: Round, key: str, first: int) -> None:
    """Reveal the ids from `first` on by one keeper. Raises RuntimeError if a batch reverts."""
    from django.conf import settings as ours

    from glisk.clients.chain import ChainClient, RpcClient, encode_reveal
    from glisk.clients.signers.local import KeySigner
    from reveals.keeper import Keeper, choose_fees, configured_ceiling_wei, percentile
    from reveals.pipeline.send import Verdict, broadcast

    chain = ChainClient(RpcClient(url), contract_address=ours.GLISK_NFT_CONTRACT_ADDRESS)
    keeper, under_way = Keeper(KeySigner(key)), list[str]()
    address, uris = keeper.address, [_URI] * options.tokens
    nonce = chain.mined_transactions(keeper=address, tx_hashes=[]).transaction_count
    starts = list(range(first, first + options.batches * options.tokens, options.tokens))
    while starts or under_way:
        while starts and len(under_way) < options.in_flight:
            start = starts.pop(0)
            data = encode_reveal(list(range(start, start + options.tokens)), uris)
            history, gas = chain.fees_and_gas(keeper=address, data=data, percentile=percentile())
            fees = choose_fees(history, ceiling_wei=configured_ceiling_wei())
            limit = int(gas * ours.REVEAL_GAS_BUFFER)
            signed = keeper.sign(nonce=nonce, data=data, gas_limit=limit, **asdict(fees))
            if broadcast(chain, signed.raw) is not Verdict.ACCEPTED:  # fees rose meanwhile
                starts.insert(0, start)
                break
            under_way.append(signed.tx_hash)
            nonce += 1
        time.sleep(_LOOK_SECONDS)
        mined = chain.mined_transactions(keeper=address, tx_hashes=under_way).receipts
        receipts = [receipt for receipt in mined.values() if receipt is not None]
        if not all(receipt.succeeded for receipt in receipts):
            raise RuntimeError(f"a reveal of keeper {address} reverted")
        found.receipts.extend(receipts)
        under_way = [tx_hash for tx_hash in under_way if mined[tx_hash] is None]
    found.requests += chain.requests
    found.calls += chain.calls
