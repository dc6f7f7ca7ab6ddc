"""What differs between chain and database, and what is no difference."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from authors.tests.factories import wallet
from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from tokens.models import ImageGenerationJob, Token
from tokens.models.job import JobStatus
from tokens.recovery import drift
from tokens.recovery.drift import DriftReport, check_drift, last_report
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy, without_logs
from tokens.tests.recovery.stage import (
    FOX,
    LIGHTHOUSE,
    URI,
    lose,
    reveal,
)
from tokens.tests.repairs.stock import put_in_batch

pytestmark = pytest.mark.django_db


def test_nothing_differs_after_a_recovery(history: DemoChain, reader: ChainClient) -> None:
    report = check_drift(reader, repair=False)
    assert (report.is_clean, report.complete, report.tokens_checked) == (True, True, 6)
    assert last_report() == report


def test_what_does_not_fit_into_the_time_is_left_out(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "FACTS_AT_ONCE", 2)
    Token.objects.filter(pk__in=[1, 6]).update(prompt_author_wallet=wallet(0xEE))
    report = check_drift(reader, repair=False, budget_seconds=-1)
    assert (report.complete, report.tokens_checked) == (False, 2)
    assert [finding.token_id for finding in report.findings] == [6]  # the newest come first


def test_each_difference_is_named(history: DemoChain, reader: ChainClient) -> None:
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
    assert report.counts == {
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
    history: DemoChain, reader: ChainClient
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
    history: DemoChain, reader: ChainClient
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
    history: DemoChain, reader: ChainClient
) -> None:
    Token.objects.filter(pk=1).update(status="ready", image_cid="i", metadata_cid="m")
    put_in_batch(Token.objects.get(pk=1))
    reveal(history, 1)
    check_drift(reader, repair=True)
    assert Token.objects.get(pk=1).status == TokenStatus.READY


def test_an_adopted_token_whose_reveal_is_gone_begins_anew(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reveal(history, 2)
    check_drift(reader, repair=True)
    history.reorg(1)
    report = check_drift(reader, repair=True)
    assert report.counts == {"not_revealed": 1}  # the node may lag: not yet
    Token.objects.filter(pk=2).update(status_changed_at=timezone.now() - timedelta(minutes=11))
    assert check_drift(reader, repair=True).findings[0].repaired
    scan_chain(reader)
    assert Token.objects.get(pk=2).status == TokenStatus.DETECTED
    assert_equal_to_chain(history)


def test_a_token_that_we_revealed_while_it_was_compared_is_no_difference(
    history: DemoChain, reader: ChainClient
) -> None:
    Token.objects.filter(pk=1).update(status="ready", image_cid="i", metadata_cid=URI[7:])
    reveal(history, 1)
    ours = Token.objects.filter(pk=1)
    tokens = list(ours)
    ours.update(status="revealed", reveal_tx_hash=f"0x{1:064x}")  # while the chain is asked
    report = DriftReport(tiled=True)
    drift._compare(reader, tokens, report, repair=False)
    assert report.is_clean


def test_a_node_far_behind_takes_nothing_from_an_adopted_token(
    history: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
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
    assert report.counts == {"not_revealed": 1}
    assert not report.is_clean
    assert Token.objects.get(pk=2).status == TokenStatus.REVEALED


def test_an_id_that_was_withdrawn_and_minted_again_is_found_by_the_next_look(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """The proof had written its own memory over that of the withdrawal."""
    chain.mine(3)
    proxy.alter = without_logs
    chain.wait(chain.mint(1, FOX, 2))
    scan_chain(bad_reader)
    chain.reorg(1)
    prove(bad_reader, budget_seconds=600)
    chain.mine(2)
    prove(bad_reader, budget_seconds=600)
    assert not Token.objects.exists()
    proxy.calm()
    chain.wait(chain.mint(1, LIGHTHOUSE, 2))
    assert scan_chain(bad_reader).created == 2
    assert_equal_to_chain(chain)


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
    assert "6 tokens; the mint events cover them exactly. 6 tokens compared." in told


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
