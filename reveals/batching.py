"""When a batch goes: at once if nothing else is on its way, else after a bounded wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


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
) -> Departure:
    """Decide for verified tokens, given since when each has been ready.

    A full batch goes at once. A smaller one waits for company, at most `wait_seconds` from its
    first token's readiness, and only while other tokens are on their way.
    """
    if not ready_since:
        return Departure(0, None)
    if len(ready_since) >= max_tokens:
        return Departure(max_tokens, None)
    if not others_on_their_way:
        return Departure(len(ready_since), None)
    leaves_at = min(ready_since) + timedelta(seconds=wait_seconds)
    remaining = (leaves_at - at).total_seconds()
    if remaining <= 0:
        return Departure(len(ready_since), None)
    return Departure(0, remaining)
