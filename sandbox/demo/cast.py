"""Who takes part: three authors with a style of their own each, three collectors, a stranger."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.accounts import AUTHORS, COLLECTORS, STRANGER


@dataclass(frozen=True)
class CastAuthor:
    """A prompt author; handles without @."""

    wallet: str
    prompt: str
    x: str | None = None
    farcaster: str | None = None

    @property
    def name(self) -> str:
        return f"@{self.x or self.farcaster}"


CAST = (
    CastAuthor(
        AUTHORS[0].address,
        "Misty mountain ridges at sunrise, layer behind layer like cut paper, a lone castle on "
        "the far horizon, fir woods in the valley, warm light, quiet and vast",
        x="glisk_ridges",
        farcaster="ridges.eth",
    ),
    CastAuthor(
        AUTHORS[1].address,
        "A botanical garden at midnight: lotus and dahlia in full bloom under a starry moon, "
        "butterflies between the petals, painted as in an old herbarium",
        x="glisk_bloom",
    ),
    CastAuthor(
        AUTHORS[2].address,
        "Neon skyline of a cyberpunk city, towers of crystal under a spiral galaxy, reflections "
        "on wet streets, cosmic and electric",
        farcaster="glisk-neon",
    ),
)
UNREGISTERED = STRANGER.address
# Indices of the collectors among the development accounts, whose keys the node holds.
COLLECTOR_INDICES = tuple(range(1, 1 + len(COLLECTORS)))


def author_of(wallet: str) -> CastAuthor | None:
    """Return the author of this wallet, or None if nobody registered it."""
    return next((author for author in CAST if author.wallet == wallet), None)


def name_of(wallet: str) -> str:
    author = author_of(wallet)
    return author.name if author else "an unregistered author"
