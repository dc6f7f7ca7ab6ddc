"""The proof of completeness: the mint events tile the contract's ids."""

from __future__ import annotations

import pytest

from tokens.factories import MintEventFactory
from tokens.models import MintEvent
from tokens.recovery.completeness import prove_tiling

pytestmark = pytest.mark.django_db


def tile(*spans: tuple[int, int]) -> None:
    for first, quantity in spans:
        MintEventFactory.create(start_token_id=first, quantity=quantity)


@pytest.mark.parametrize(
    ("spans", "next_token_id", "holes", "overlaps"),
    [
        ([], 1, [], []),
        ([(1, 3), (4, 1), (5, 50)], 55, [], []),
        ([], 3, [(1, 2)], []),
        ([(3, 2)], 5, [(1, 2)], []),
        ([(1, 2), (5, 1)], 9, [(3, 4), (6, 8)], []),
        ([(1, 3), (2, 1), (4, 2)], 6, [], [(2, 3)]),
        ([(1, 5), (1, 5)], 6, [], [(1, 5)]),
        ([(1, 9), (3, 1), (6, 1)], 10, [], [(3, 9), (6, 9)]),
    ],
)
def test_holes_and_overlaps_are_found(
    spans: list[tuple[int, int]],
    next_token_id: int,
    holes: list[tuple[int, int]],
    overlaps: list[tuple[int, int]],
) -> None:
    tile(*spans)
    tiling = prove_tiling(next_token_id)
    assert (tiling.holes, tiling.overlaps) == (holes, overlaps)
    assert tiling.is_exact == (not holes and not overlaps)
    assert len(tiling.faults()) == len(holes) + len(overlaps)


def test_mints_beyond_the_contracts_ids_are_a_fault() -> None:
    tile((1, 2), (3, 4))
    tiling = prove_tiling(3)
    assert not tiling.is_exact
    assert "up to id 6" in tiling.faults()[0]


def test_a_proof_goes_on_from_where_the_last_one_ended() -> None:
    tile((1, 2), (3, 2), (5, 2))
    MintEvent.objects.filter(start_token_id=1).delete()
    assert prove_tiling(7, known_below=3).is_exact
    assert not prove_tiling(7).is_exact
    assert prove_tiling(7, known_below=3).proven_below == 7
