"""Find the tokens that make a batch revert, by trying parts of it.

Halves of halves, all of a level in one round trip: k poison tokens among n are found in at most
2·k·log2(n) simulations and log2(n) + 1 round trips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glisk.clients.chain import RevertError
from reveals.gate import Candidate

Group = Sequence[Candidate]
# Says of each group whether its reveal would revert.
Simulate = Callable[[Sequence[Group]], Sequence[RevertError | None]]


def find_poison(candidates: Group, simulate: Simulate) -> dict[int, RevertError]:
    """Return why each poison token reverts by itself, of a batch that does revert.

    Nothing is found if only the combination reverts. Raises `RevertError` if even an empty
    reveal does: then it is the keeper or the contract, and no token.
    """
    found: dict[int, RevertError] = {}
    groups: list[Group] = [candidates]
    asked_for_nothing = False
    while groups:
        parts: list[Group] = [part for group in groups for part in _halves(group)]
        if not asked_for_nothing:
            parts.append([])
        outcomes = list(simulate(parts))
        if not asked_for_nothing:
            parts.pop()
            general = outcomes.pop()
            if general is not None:
                raise general
            asked_for_nothing = True
        groups = []
        for part, error in zip(parts, outcomes, strict=True):
            if error is None:
                continue
            if len(part) == 1:
                found[part[0].token_id] = error
            else:
                groups.append(part)
    return found


def _halves(group: Group) -> list[Group]:
    middle = len(group) // 2
    return [part for part in (group[:middle], group[middle:]) if part]
