"""Who mints what, and when: decided by a seed, sent one wave per block."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sandbox.chain import DemoChain
from sandbox.demo.cast import CAST, COLLECTOR_INDICES, UNREGISTERED

_MINTS_PER_WAVE = 3
_MOST_IN_ONE_MINT = 50  # the contract's MAX_BATCH_SIZE
_FEWEST_WITH_STRANGER = 4


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
    """Send the waves, the next one whenever a block has come."""

    def __init__(self, chain: DemoChain, waves: list[Wave]) -> None:
        self._chain, self._waves = chain, list(waves)
        self._last_block = -1
        self.hashes: dict[str, PlannedMint] = {}

    @property
    def all_sent(self) -> bool:
        return not self._waves

    def send_next(self, block: int) -> None:
        """Send the next wave unless this block has seen one already."""
        if not self._waves or block <= self._last_block:
            return
        self._last_block = block
        for mint in self._waves.pop(0):
            tx_hash = self._chain.mint(mint.collector, mint.author, mint.quantity)
            self.hashes[tx_hash] = mint
