"""Who takes part, and what they mint: authors with a style of their own, collectors, an operator.

Authors and operator are made by the program's own commands; mints are decided by a seed, and sent
one wave per block.
"""

from __future__ import annotations

import csv
import random
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from web3.exceptions import Web3Exception

from sandbox.accounts import AUTHORS, COLLECTORS, STRANGER
from sandbox.chain import DemoChain
from sandbox.world import World


@dataclass(frozen=True)
class DemoAuthor:
    """A prompt author; handles without @."""

    wallet: str
    prompt: str
    x: str | None = None
    farcaster: str | None = None

    @property
    def name(self) -> str:
        return f"@{self.x or self.farcaster}"


CAST = (
    DemoAuthor(
        AUTHORS[0].address,
        "Misty mountain ridges at sunrise, layer behind layer like cut paper, a lone castle on "
        "the far horizon, fir woods in the valley, warm light, quiet and vast",
        x="glisk_ridges",
        farcaster="ridges.eth",
    ),
    DemoAuthor(
        AUTHORS[1].address,
        "A botanical garden at midnight: lotus and dahlia in full bloom under a starry moon, "
        "butterflies between the petals, painted as in an old herbarium",
        x="glisk_bloom",
    ),
    DemoAuthor(
        AUTHORS[2].address,
        "Neon skyline of a cyberpunk city, towers of crystal under a spiral galaxy, reflections "
        "on wet streets, cosmic and electric",
        farcaster="glisk-neon",
    ),
)
OPERATOR = "operator"
UNREGISTERED = STRANGER.address
# Indices of the collectors among the development accounts, whose keys the node holds.
COLLECTOR_INDICES = tuple(range(1, 1 + len(COLLECTORS)))


def author_of(wallet: str) -> DemoAuthor | None:
    """Return the author of this wallet, or None if nobody registered it."""
    return next((author for author in CAST if author.wallet == wallet), None)


def name_of(wallet: str) -> str:
    author = author_of(wallet)
    return author.name if author else "an unregistered author"


def seed(world: World) -> str:
    """Take in the authors and make the operator's login; return the password.

    In a world that goes on, both are there already and stay as they are.
    """
    password_file = world.directory / "operator-password"
    with ThreadPoolExecutor(1) as pool:
        authors = pool.submit(onboard_authors, world)
        if not password_file.exists():
            _create_operator(world, password_file)
        authors.result()
    return password_file.read_text()


def onboard_authors(world: World) -> None:
    """Take in the authors of the cast, or bring them up to date."""
    file = world.directory / "authors.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        rows = [("wallet", "prompt", "x", "farcaster")]
        csv.writer(lines).writerows(rows + [(a.wallet, a.prompt, a.x, a.farcaster) for a in CAST])
    world.manage("onboard_author", "--file", str(file))


def _create_operator(world: World, password_file: Path) -> None:
    password = secrets.token_urlsafe(9)
    world.manage(
        "createsuperuser", "--noinput", "--username", OPERATOR, "--email", "",
        DJANGO_SUPERUSER_PASSWORD=password,
    )  # fmt: skip
    password_file.touch(0o600)
    password_file.write_text(password)


_MINTS_PER_WAVE = 3
_MOST_IN_ONE_MINT = 50  # the contract's MAX_BATCH_SIZE
_FEWEST_WITH_STRANGER = 4
LOOK_AGAIN_SECONDS = 2.0


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
        self._look_at = time.monotonic() + LOOK_AGAIN_SECONDS
        for tx_hash, mint in list(self._sent.items()):
            if self._chain.rpc("eth_getTransactionByHash", tx_hash) is None:
                del self._sent[tx_hash]
                self._unsent = [*self._unsent, mint]
