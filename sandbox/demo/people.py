"""Who takes part: three authors with a style of their own each, collectors, an operator.

Authors and operator are made by the program's own commands.
"""

from __future__ import annotations

import csv
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.accounts import AUTHORS, COLLECTORS, STRANGER
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
