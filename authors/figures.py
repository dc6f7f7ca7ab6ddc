"""What an author's wallet has brought about on chain; told by the app that knows the mints."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class AuthorFigures:
    """Tokens minted by way of a wallet, and what it earned by them at most.

    The author gets half of the mint's price, the treasury whatever was paid beyond it: half of
    what was paid is an upper bound.
    """

    tokens: int = 0
    earned_at_most_wei: int = 0


# Each is asked for the figures of several wallets (EIP-55) at once.
providers: list[Callable[[Iterable[str]], dict[str, AuthorFigures]]] = []


def figures_of(wallets: Iterable[str]) -> dict[str, AuthorFigures]:
    """Return the figures of each wallet that has any."""
    return {wallet: found for provide in providers for wallet, found in provide(wallets).items()}
