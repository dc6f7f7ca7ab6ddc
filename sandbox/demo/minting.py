"""Who mints what, and when: decided by a seed, sent one wave per block."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass

from web3.exceptions import Web3Exception

from sandbox.chain import DemoChain
from sandbox.demo.people import CAST, COLLECTOR_INDICES, UNREGISTERED

_MINTS_PER_WAVE = 3
_MOST_IN_ONE_MINT = 50  # the contract's MAX_BATCH_SIZE
_FEWEST_WITH_STRANGER = 4
_LOOK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class PlannedMint:
    """`collector` is the index of a development account."""

    collector: int
    author: str
    quantity: int


Wave = list[PlannedMint]


def plan_mints(tokens: int, seed: int) -> list[Wave]:
    """Return the waves: single mints of every author first, then batches.

    From four tokens on, one mint is of an author whom nobody registered.
    """
    rng = random.Random(f"{seed} {tokens}")
    singles = min(tokens, len(CAST))
    mints = [
        PlannedMint(COLLECTOR_INDICES[number % len(COLLECTOR_INDICES)], CAST[number].wallet, 1)
        for number in range(singles)
    ]
    left = tokens - singles
    if tokens >= _FEWEST_WITH_STRANGER:
        mints.append(PlannedMint(rng.choice(COLLECTOR_INDICES), UNREGISTERED, 1))
        left -= 1
    largest = max(2, min(_MOST_IN_ONE_MINT, tokens // 4))
    while left:
        quantity = min(left, rng.randint((largest + 1) // 2, largest))
        author = CAST[len(mints) % len(CAST)]
        mints.append(PlannedMint(rng.choice(COLLECTOR_INDICES), author.wallet, quantity))
        left -= quantity
    return [mints[i : i + _MINTS_PER_WAVE] for i in range(0, len(mints), _MINTS_PER_WAVE)]


class Minter:
    """Send the waves, the next one whenever a block has come.

    As a wallet would, it sends again what a crashed node has forgotten.
    """

    def __init__(self, chain: DemoChain, waves: list[Wave]) -> None:
        self._chain, self._waves = chain, list(waves)
        self._unsent: list[PlannedMint] = []
        self._sent: dict[str, PlannedMint] = {}
        self._last_block = -1
        self._look_at = 0.0

    def step(self, block: int) -> list[PlannedMint]:
        """Send what is due at this block; return what was sent for the first time.

        A node that is down is tried again at the next step.
        """
        started: list[PlannedMint] = []
        with suppress(OSError, Web3Exception):
            self._find_forgotten()
            if self._waves and not self._unsent and block > self._last_block:
                self._last_block = block
                self._unsent = started = self._waves.pop(0)
            while self._unsent:
                mint = self._unsent[0]
                tx_hash = self._chain.mint(mint.collector, mint.author, mint.quantity)
                self._sent[tx_hash] = mint
                self._unsent = self._unsent[1:]
        return started

    def _find_forgotten(self) -> None:
        """Queue again the mints that are neither mined nor in the node's pool."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        for tx_hash, mint in list(self._sent.items()):
            if self._chain.rpc("eth_getTransactionByHash", tx_hash) is None:
                del self._sent[tx_hash]
                self._unsent = [*self._unsent, mint]
