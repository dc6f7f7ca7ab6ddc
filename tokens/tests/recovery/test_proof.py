"""The proof of every few minutes: what it mends, and how much it asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from authors.tests.factories import wallet
from glisk.clients.chain import ChainClient
from glisk.timing import timing
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token
from tokens.recovery import proof
from tokens.recovery.drift import last_report, prove_tiling
from tokens.recovery.progress import load, save_memory
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy, without_logs
from tokens.tests.recovery.stage import LIGHTHOUSE, lose, reveal

pytestmark = pytest.mark.django_db


def test_the_proof_mends_everything_that_is_safe_to_mend(
    history: DemoChain, reader: ChainClient
) -> None:
    reveal(history, 2)
    lose(4, 5, 6)
    assert prove(reader, budget_seconds=600) >= 3
    assert_equal_to_chain(history)
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED
    assert last_report().is_clean
    assert prove(reader, budget_seconds=600) == 0


def test_a_node_that_is_behind_the_scan_proves_nothing(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = reader.survey
    seen = survey()
    behind = replace(seen, head=replace(seen.head, number=seen.head.number - 1))
    with monkeypatch.context() as patch:  # the scan asks one node, the proof another one
        patch.setattr(reader, "survey", lambda **asked: survey(**asked) if asked else behind)
        prove(reader, budget_seconds=600)
    assert load()[1].proved_at is None
    prove(reader, budget_seconds=600)
    assert load()[1].proved_at is not None


def test_a_proof_of_nothing_new_takes_few_calls(history: DemoChain, reader: ChainClient) -> None:
    prove(reader, budget_seconds=600)
    reader.requests = reader.calls = 0
    prove(reader, budget_seconds=600)
    # Two surveys, the six tokens that are on their way, and the facts of a window of them.
    assert reader.requests <= 4
    assert reader.calls <= 3 + 3 + 6 + 6 * 4


def test_the_window_comes_round(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "OLD_ONES", 2)
    Token.objects.filter(pk=5).update(prompt_author_wallet=wallet(0xEE))
    found = []
    for _ in range(4):
        prove(reader, budget_seconds=600)
        found.append(last_report().counts.get("author_differs", 0))
    assert found == [0, 0, 1, 1]  # and what differed once is looked at until it does not
    Token.objects.filter(pk=5).update(prompt_author_wallet=LIGHTHOUSE)
    prove(reader, budget_seconds=600)
    assert last_report().counts in ({}, {"author_differs": 1})


def test_what_was_revealed_is_compared_half_an_hour_later(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_next_window", lambda memory: [])

    def checked() -> int:
        prove(reader, budget_seconds=600)
        return last_report().tokens_checked

    reveal(history, 2)
    assert [checked(), checked()] == [0, 0]
    proved_at = datetime.fromisoformat(load()[1].proved_at or "")
    half_an_hour_ago = proved_at - timedelta(minutes=30) + timedelta(microseconds=1)
    Token.objects.filter(pk=2).update(status_changed_at=half_an_hour_ago)
    assert [checked(), checked()] == [1, 0]


def test_holes_in_the_tiling_are_read_again_and_then_left_alone(
    history: DemoChain,
    bad_reader: ChainClient,
    proxy: NodeProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose(4, 5, 6)
    proxy.alter = without_logs
    prove(bad_reader, budget_seconds=600)
    assert Token.objects.filter(mint_event=None).count() == 3
    assert not last_report().tiled
    monkeypatch.setattr(timing, "first_retry", 3600.0)
    prove(bad_reader, budget_seconds=600)
    proxy.log_ranges.clear()
    prove(bad_reader, budget_seconds=600)
    assert proxy.log_ranges == []
    proxy.calm()
    memory = load()[1]
    memory.hole = {}
    save_memory(memory)
    prove(bad_reader, budget_seconds=600)
    assert_equal_to_chain(history)
    prove(bad_reader, budget_seconds=600)
    assert last_report().is_clean


def test_mints_whose_tokens_the_gate_turned_away_are_looked_at_again(
    history: DemoChain, reader: ChainClient
) -> None:
    """Their reorg was deeper than what every look watches."""
    event = MintEvent.objects.get(start_token_id=1)
    event.block_hash = f"0x{5:064x}"
    event.save()
    Token.objects.filter(pk=1).update(
        status="ready", image_cid="i", metadata_cid="m", error_class="reorged"
    )
    scan_chain(reader)
    assert MintEvent.objects.get(pk=event.pk).block_hash == event.block_hash
    prove(reader, budget_seconds=600)
    assert_equal_to_chain(history)


# -- the tiling -------------------------------------------------------------------------


def tile(*spans: tuple[int, int]) -> None:
    for first, quantity in spans:
        MintEventFactory.create(start_token_id=first, quantity=quantity)


Spans = list[tuple[int, int]]
# Mints by first id and quantity, the next id; the holes and the overlaps in between.
TILINGS: list[tuple[Spans, int, Spans, Spans]] = [
    ([], 1, [], []),
    ([(1, 3), (4, 1), (5, 50)], 55, [], []),
    ([], 3, [(1, 2)], []),
    ([(3, 2)], 5, [(1, 2)], []),
    ([(1, 2), (5, 1)], 9, [(3, 4), (6, 8)], []),
    ([(1, 3), (2, 1), (4, 2)], 6, [], [(2, 3)]),
    ([(1, 5), (1, 5)], 6, [], [(1, 5)]),
    ([(1, 9), (3, 1), (6, 1)], 10, [], [(3, 9), (6, 9)]),
]


def test_holes_and_overlaps_are_found() -> None:
    for spans, next_token_id, holes, overlaps in TILINGS:
        MintEvent.objects.all().delete()
        tile(*spans)
        tiling = prove_tiling(next_token_id)
        assert (tiling.holes, tiling.overlaps) == (holes, overlaps)
        assert len(tiling.faults) == len(holes) + len(overlaps)
    (fault,) = prove_tiling(3).faults[-1:]  # mints beyond the contract's ids
    assert "up to id 9" in fault


def test_a_proof_goes_on_from_where_the_last_one_ended() -> None:
    tile((1, 2), (3, 2), (5, 2))
    MintEvent.objects.filter(start_token_id=1).delete()
    assert not prove_tiling(7, known_below=3).faults
    assert prove_tiling(7).faults
    assert prove_tiling(7, known_below=3).proven_below == 7
