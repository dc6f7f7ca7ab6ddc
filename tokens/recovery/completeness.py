"""The proof of completeness: the mint events tile `[1, nextTokenId)` exactly.

The contract numbers without gaps, so a mint that we do not know leaves a hole, and one that the
chain does not know overlaps another or goes beyond the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection

from tokens.models import MintEvent


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


def prove_tiling(next_token_id: int, *, known_below: int = 1, limit: int = 100) -> Tiling:
    """Return where the mint events from `known_below` on do not tile; nothing is the proof.

    `known_below`: an id up to which the proof was made before. At most `limit` faults.
    """
    sql = """
        WITH tiles AS (
            SELECT start_token_id AS first, start_token_id + quantity AS following,
                   max(start_token_id + quantity) OVER (
                       ORDER BY start_token_id, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                   ) AS reached
            FROM mint_events WHERE start_token_id >= %s
        )
        SELECT first, COALESCE(reached, %s) FROM tiles WHERE first <> COALESCE(reached, %s)
        ORDER BY first LIMIT %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [known_below, known_below, known_below, limit])
        faults = [(int(first), int(reached)) for first, reached in cursor.fetchall()]
        cursor.execute(
            "SELECT COALESCE(max(start_token_id + quantity), %s) FROM mint_events "
            "WHERE start_token_id >= %s",
            [known_below, known_below],
        )
        end = int(cursor.fetchone()[0])
    holes = [(reached, first - 1) for first, reached in faults if first > reached]
    overlaps = [(first, reached - 1) for first, reached in faults if first < reached]
    if end < next_token_id and len(holes) < limit:
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
    unsettled = (
        MintEvent.objects.filter(settled_at=None)
        .order_by("start_token_id")
        .values_list("start_token_id", flat=True)
        .first()
    )
    return tiling.proven_below if unsettled is None else min(tiling.proven_below, unsettled)
