"""The proof of completeness: the mint events tile `[1, nextTokenId)` exactly.

The contract numbers without gaps, so a mint that we do not know leaves a hole, and one that the
chain does not know overlaps another or goes beyond the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from django.db.models import F, Max, Min

from tokens.models import MintEvent

MOST_FAULTS = 100


@dataclass(frozen=True)
class Tiling:
    """`holes` and `overlaps` are ranges of ids, both ends included; `end` follows the last id."""

    next_token_id: int
    proven_below: int  # everything below is tiled
    end: int
    holes: list[tuple[int, int]]
    overlaps: list[tuple[int, int]]

    @property
    def is_exact(self) -> bool:
        return not self.holes and not self.overlaps and self.end == self.next_token_id

    def faults(self) -> list[str]:
        """Say what is wrong, in words."""
        told = [f"ids {first} to {last} have no mint event" for first, last in self.holes]
        told += [f"ids {first} to {last} have two mint events" for first, last in self.overlaps]
        if self.end > self.next_token_id:
            told.append(
                f"mint events go up to id {self.end - 1}, the contract's ids up to "
                f"{self.next_token_id - 1}"
            )
        return told


def prove_tiling(next_token_id: int, *, known_below: int = 1) -> Tiling:
    """Return where the mint events from `known_below` on do not tile; nothing is the proof.

    `known_below`: an id up to which the proof was made before. At most `MOST_FAULTS`.
    """
    sql = """
        SELECT first, reached FROM (
            SELECT start_token_id AS first, COALESCE(max(start_token_id + quantity) OVER (
                ORDER BY start_token_id, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), %(known)s) AS reached
            FROM mint_events WHERE start_token_id >= %(known)s
        ) AS tiles WHERE first <> reached ORDER BY first LIMIT %(most)s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, {"known": known_below, "most": MOST_FAULTS})
        faults: list[tuple[int, int]] = cursor.fetchall()
    known = MintEvent.objects.filter(start_token_id__gte=known_below)
    end = known.aggregate(end=Max(F("start_token_id") + F("quantity")))["end"] or known_below
    holes = [(reached, first - 1) for first, reached in faults if first > reached]
    overlaps = [(first, reached - 1) for first, reached in faults if first < reached]
    if end < next_token_id and len(holes) < MOST_FAULTS:
        holes.append((end, next_token_id - 1))
    bad = [first for first, _ in (*holes, *overlaps)]
    return Tiling(
        next_token_id=next_token_id,
        proven_below=min([*bad, end, next_token_id]),
        end=end,
        holes=holes,
        overlaps=overlaps,
    )


def settled_proof(tiling: Tiling) -> int:
    """Return the id below which the proof need not be made again: no reorg reaches there."""
    unsettled = MintEvent.objects.filter(settled_at=None)
    lowest = unsettled.aggregate(lowest=Min("start_token_id"))["lowest"]
    return tiling.proven_below if lowest is None else min(tiling.proven_below, lowest)
