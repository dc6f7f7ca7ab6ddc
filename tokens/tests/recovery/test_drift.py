"""The proof of completeness, and what differs between chain and database."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from authors.factories import wallet
from glisk.clients.mint_reader import MintReader
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.chain import DemoChain
from tokens.factories import MintEventFactory
from tokens.models import ImageGenerationJob, MintEvent, Token
from tokens.models.job import JobStatus
from tokens.recovery import drift, proof
from tokens.recovery.drift import DriftReport, check_drift, last_report
from tokens.recovery.progress import load, save_memory
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.recovery.tiling import prove_tiling
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy
from tokens.tests.recovery.test_gaps import lose, without_logs
from tokens.tests.recovery.test_reorgs import put_in_open_batch

pytestmark = pytest.mark.django_db

FOX, LIGHTHOUSE = AUTHORS[0].address, AUTHORS[1].address
URI = "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"


def reveal(chain: DemoChain, *token_ids: int, uri: str = URI) -> str:
    tx_hash = chain.reveal(KEEPER.private_key, list(token_ids), [uri] * len(token_ids))
    assert chain.wait(tx_hash)["status"] == 1
    return tx_hash


@pytest.fixture
def history(chain: DemoChain, reader: MintReader) -> DemoChain:
    """Three mints of six tokens, known and settled."""
    for number in range(3):
        chain.wait(chain.mint(1, FOX if number % 2 else LIGHTHOUSE, number + 1))
    chain.mine(15)
    scan_chain(reader)
    scan_chain(reader)
    return chain


def kinds(report: DriftReport) -> dict[str, int]:
    return report.counts


# -- the tiling -------------------------------------------------------------------------


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


# -- the complete comparison ------------------------------------------------------------


def test_nothing_differs_after_a_recovery(history: DemoChain, reader: MintReader) -> None:
    report = check_drift(reader, repair=False)
    assert (report.is_clean, report.complete, report.tokens_checked) == (True, True, 6)
    assert last_report() == report


def test_each_difference_is_named(history: DemoChain, reader: MintReader) -> None:
    Token.objects.filter(pk=1).update(prompt_author_wallet=wallet(0xEE))
    reveal(history, 2)
    Token.objects.filter(pk=3).update(
        status="revealed", image_cid="i", metadata_cid="m", reveal_tx_hash=f"0x{1:064x}"
    )
    reveal(history, 4)
    Token.objects.filter(pk=4).update(
        status="revealed", image_cid="i", metadata_cid="other", reveal_tx_hash=f"0x{1:064x}"
    )
    lose(6)
    reveal(history, 9)
    report = check_drift(reader, repair=False)
    assert kinds(report) == {
        "author_differs": 1,
        "revealed_by_others": 1,
        "not_revealed": 1,
        "uri_differs": 1,
        "missing": 1,
        "revealed_unminted": 1,
    }
    assert not report.is_clean
    assert Token.objects.get(pk=2).status == TokenStatus.DETECTED  # it only looked


def test_a_token_that_others_revealed_is_adopted_and_its_work_ended(
    history: DemoChain, reader: MintReader
) -> None:
    reveal(history, 2)
    Token.objects.filter(pk=2).update(status=TokenStatus.GENERATING, attempts=1)
    job = ImageGenerationJob.objects.create(
        token_id=2,
        prompt="p",
        input={},
        service="replicate",
        model="m",
        external_id="x",
        attempt_number=1,
        status=JobStatus.SUBMITTED,
    )
    report = check_drift(reader, repair=True)
    assert [finding.repaired for finding in report.findings] == [True]
    token = Token.objects.get(pk=2)
    assert (token.status, token.adopted_uri) == (TokenStatus.REVEALED, URI)
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert check_drift(reader, repair=True).is_clean


def test_our_own_picture_stays_with_a_token_whose_uri_is_ours(
    history: DemoChain, reader: MintReader
) -> None:
    """Our reveal was mined, but its batch was given up: the database had lost sight of it."""
    cid = URI.removeprefix("ipfs://")
    Token.objects.filter(pk__in=[1, 2]).update(status="ready", image_cid="ours", metadata_cid=cid)
    Token.objects.filter(pk=2).update(metadata_cid="something-else")
    reveal(history, 1, 2)
    check_drift(reader, repair=True)
    first, second = Token.objects.filter(pk__in=[1, 2]).order_by("pk")
    assert (first.image_cid, first.metadata_cid) == ("ours", cid)
    assert (second.image_cid, second.metadata_cid) == (None, cid)


def test_a_token_that_is_being_revealed_is_left_to_its_receipt(
    history: DemoChain, reader: MintReader
) -> None:
    Token.objects.filter(pk=1).update(status="ready", image_cid="i", metadata_cid="m")
    put_in_open_batch([1])
    reveal(history, 1)
    check_drift(reader, repair=True)
    assert Token.objects.get(pk=1).status == TokenStatus.READY


def test_an_adopted_token_whose_reveal_is_gone_begins_anew(
    history: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reveal(history, 2)
    check_drift(reader, repair=True)
    history.reorg(1)
    report = check_drift(reader, repair=True)
    assert kinds(report) == {"not_revealed": 1}  # the node may lag: not yet
    Token.objects.filter(pk=2).update(status_changed_at=timezone.now() - timedelta(minutes=11))
    assert check_drift(reader, repair=True).findings[0].repaired
    scan_chain(reader)
    assert Token.objects.get(pk=2).status == TokenStatus.DETECTED
    assert_equal_to_chain(history)


def test_many_findings_are_counted_but_not_all_listed(
    history: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "LISTED", 2)
    Token.objects.update(prompt_author_wallet=wallet(0xEE))
    report = check_drift(reader, repair=False)
    assert kinds(report) == {"author_differs": 6}
    assert len(report.findings) == 2


# -- the proof of every few minutes -----------------------------------------------------


def test_the_proof_mends_everything_that_is_safe_to_mend(
    history: DemoChain, reader: MintReader
) -> None:
    reveal(history, 2)
    lose(4, 5, 6)
    assert prove(reader, budget_seconds=10) >= 3
    assert_equal_to_chain(history)
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED
    assert last_report().is_clean
    assert prove(reader, budget_seconds=10) == 0


def test_a_proof_of_nothing_new_takes_few_calls(history: DemoChain, reader: MintReader) -> None:
    prove(reader, budget_seconds=10)
    reader.requests = reader.calls = 0
    prove(reader, budget_seconds=10)
    # Two surveys, the six tokens that are on their way, and the facts of a window of them.
    assert reader.requests <= 4
    assert reader.calls <= 3 + 3 + 6 + 6 * 4


def test_the_window_comes_round(
    history: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_OLD_ONES", 2)
    Token.objects.filter(pk=5).update(prompt_author_wallet=wallet(0xEE))
    found = []
    for _ in range(4):
        prove(reader, budget_seconds=10)
        found.append(kinds(last_report()).get("author_differs", 0))
    assert found == [0, 0, 1, 1]  # and what differed once is looked at until it does not
    Token.objects.filter(pk=5).update(prompt_author_wallet=LIGHTHOUSE)
    prove(reader, budget_seconds=10)
    assert kinds(last_report()) in ({}, {"author_differs": 1})


def test_what_was_revealed_lately_is_compared_soon_and_once_more_later(
    history: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_next_window", lambda memory: [])
    monkeypatch.setattr(proof, "_PROOFS_UNTIL_SURE", 2)
    prove(reader, budget_seconds=10)
    reveal(history, 2)
    checked = []
    for _ in range(5):
        prove(reader, budget_seconds=10)
        checked.append(last_report().tokens_checked)
    assert checked == [1, 0, 1, 0, 0]


def test_holes_in_the_tiling_are_read_again_and_then_left_alone(
    history: DemoChain,
    bad_reader: MintReader,
    proxy: NodeProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lose(4, 5, 6)
    proxy.alter = without_logs
    prove(bad_reader, budget_seconds=10)
    assert Token.objects.filter(mint_event=None).count() == 3
    assert not last_report().tiled
    monkeypatch.setattr("tokens.recovery.progress.FIRST_RETRY_SECONDS", 3600.0)
    prove(bad_reader, budget_seconds=10)
    proxy.log_ranges.clear()
    prove(bad_reader, budget_seconds=10)
    assert proxy.log_ranges == []
    proxy.reset()
    memory = load()[1]
    memory.hole = {}
    save_memory(memory)
    prove(bad_reader, budget_seconds=10)
    assert_equal_to_chain(history)
    prove(bad_reader, budget_seconds=10)
    assert last_report().is_clean


def test_mints_whose_tokens_the_gate_turned_away_are_looked_at_again(
    history: DemoChain, reader: MintReader
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
    prove(reader, budget_seconds=10)
    assert_equal_to_chain(history)


# -- the command ------------------------------------------------------------------------


def command(*arguments: str) -> tuple[str, int]:
    output = io.StringIO()
    try:
        call_command("check_drift", *arguments, stdout=output)
    except CommandError as error:
        return output.getvalue(), error.returncode
    return output.getvalue(), 0


def test_the_command_says_that_all_is_well(history: DemoChain) -> None:
    told, status = command()
    assert status == 0
    assert "tokens 1 to 6; the mint events cover them exactly. 6 tokens compared." in told


def test_the_command_names_differences_and_what_to_do(history: DemoChain) -> None:
    reveal(history, 2)
    lose(4, 5, 6)
    told, status = command()
    assert status == 2
    assert "do NOT cover them exactly" in told
    assert "ids 4 to 6 have no row" in told
    assert "revealed_by_others: 1" in told
    assert "recover_tokens" in told
    assert command("--repair")[1] == 2
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED
    call_command("recover_tokens", stdout=io.StringIO())
    assert command()[1] == 0


# -- what is no difference --------------------------------------------------------------


def test_our_own_reveal_that_waits_for_its_receipt_is_no_difference(
    history: DemoChain, reader: MintReader
) -> None:
    Token.objects.filter(pk=1).update(status="ready", image_cid="i", metadata_cid="m")
    put_in_open_batch([1])
    reveal(history, 1)
    assert check_drift(reader, repair=False).is_clean


def test_a_token_that_we_revealed_while_it_was_compared_is_no_difference(
    history: DemoChain, reader: MintReader
) -> None:
    Token.objects.filter(pk=1).update(status="ready", image_cid="i", metadata_cid=URI[7:])
    reveal(history, 1)
    ours = Token.objects.filter(pk=1)
    rows = drift._rows(ours)
    ours.update(status="revealed", reveal_tx_hash=f"0x{1:064x}")  # while the chain is asked
    report = DriftReport(tiled=True)
    drift._compare_all(reader, rows, report, repair=False)
    assert report.is_clean


def test_a_node_far_behind_takes_nothing_from_an_adopted_token(
    history: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    """An operator's repair, by a node that has not seen the reveal: it would be paid for."""
    reveal(history, 2)
    check_drift(bad_reader, repair=True)
    Token.objects.filter(pk=2).update(status_changed_at=timezone.now() - timedelta(minutes=11))
    scan_chain(bad_reader)
    behind = hex(history.block_number() - 1)  # the block before the reveal's

    def as_of_then(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == "latest":
            return {**answer, "result": history.rpc("eth_getBlockByNumber", behind, False)}
        if method == "eth_call" and params[1] == "latest":
            return {**answer, "result": history.rpc("eth_call", params[0], behind)}
        return answer

    proxy.alter = as_of_then
    report = check_drift(bad_reader, repair=True)
    assert kinds(report) == {"not_revealed": 1}
    assert not report.is_clean
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED


def test_what_is_mended_and_not_listed_does_not_hide_what_is_not_mended(
    history: DemoChain, reader: MintReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "LISTED", 1)
    monkeypatch.setattr(drift, "FACTS_AT_ONCE", 2)
    reveal(history, 2, 3)
    check_drift(reader, repair=True)
    Token.objects.filter(pk=2).update(status_changed_at=timezone.now() - timedelta(minutes=11))
    history.reorg(1)
    report = check_drift(reader, repair=True)
    assert kinds(report) == {"not_revealed": 2}
    assert not report.is_clean
    assert not last_report().is_clean


def test_an_id_that_was_withdrawn_and_minted_again_is_found_by_the_next_look(
    chain: DemoChain, bad_reader: MintReader, proxy: NodeProxy
) -> None:
    """The proof had written its own memory over that of the withdrawal."""
    chain.mine(3)
    proxy.alter = without_logs
    chain.wait(chain.mint(1, FOX, 2))
    scan_chain(bad_reader)
    chain.reorg(1)
    prove(bad_reader, budget_seconds=10)
    chain.mine(2)
    prove(bad_reader, budget_seconds=10)
    assert not Token.objects.exists()
    proxy.reset()
    chain.wait(chain.mint(1, LIGHTHOUSE, 2))
    assert scan_chain(bad_reader).created == 2
    assert_equal_to_chain(chain)
