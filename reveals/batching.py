"""When a batch goes, and who travels together.

It goes at once if nothing else is on its way, else after a bounded wait. Tokens whose transactions
were mined without effect, while every simulation was good, go in ever smaller batches: so the one
that is to blame gets to be alone, and the others are revealed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reveals.candidates import Waiting

# One revert may be chance: the same tokens may try once more together.
_REVERTS_TO_PART = 2


@dataclass(frozen=True)
class Departure:
    """`now`: how many of the waiting tokens go; else after how many seconds to look again."""

    now: int
    wait_seconds: float | None


def decide_departure(
    ready_since: Sequence[datetime],
    *,
    others_on_their_way: bool,
    at: datetime,
    max_tokens: int,
    wait_seconds: float,
    filling_seconds: float = 0.0,
) -> Departure:
    """Decide for verified tokens, given since when each has been ready.

    A full batch goes at once. A smaller one waits for company, at most `wait_seconds` from its
    first token's readiness, and only while other tokens are on their way. `filling_seconds`: so
    long it may fill up with tokens that are ready as well and only being checked, as after an
    outage, when all have waited long enough.
    """
    if not ready_since:
        return Departure(0, None)
    if len(ready_since) >= max_tokens:
        return Departure(max_tokens, None)
    if not others_on_their_way:
        return Departure(len(ready_since), None)
    leaves_at = min(ready_since) + timedelta(seconds=wait_seconds)
    remaining = max((leaves_at - at).total_seconds(), filling_seconds)
    if remaining <= 0:
        return Departure(len(ready_since), None)
    return Departure(0, remaining)


def choose_company(waiting: Sequence[Waiting], *, max_tokens: int) -> list[Waiting]:
    """Return those, oldest mint first, that may travel with the first of them."""
    if not waiting:
        return []
    first = waiting[0]
    if first.reverts < _REVERTS_TO_PART:
        trusted = [entry for entry in waiting if entry.reverts < _REVERTS_TO_PART]
        return trusted[:max_tokens]
    alike = [entry for entry in waiting if entry.company == first.company and entry.reverts]
    return alike[: max(1, min(max_tokens, first.company // 2))]
