"""Ids that the contract has given out and the database does not know are found and filled."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings

from authors.tests.factories import AuthorFactory, wallet
from glisk.clients.chain import ChainClient
from reveals.tests.factories import RevealBatchFactory
from sandbox.chain import DemoChain
from tokens.models import Token, TokenTransition
from tokens.recovery import gaps
from tokens.recovery.gaps import fill_gaps, missing_ranges
from tokens.recovery.progress import load_progress
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import HttpAnswer, NodeProxy, without_logs
from tokens.tests.recovery.stage import FOX, LIGHTHOUSE, URI, lose, mint

pytestmark = pytest.mark.django_db

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"


@pytest.fixture
def history(chain: DemoChain, reader: ChainClient) -> DemoChain:
    """Six mints of twelve tokens, all known."""
    for number in range(6):
        mint(chain, FOX if number % 2 else LIGHTHOUSE, 1 + number % 3)
        chain.mine(30)
    scan_chain(reader)
    reader.requests = reader.calls = 0
    return chain


def rows(first: int, last: int) -> None:
    """Insert tokens without more ado."""
    author = AuthorFactory.create()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tokens_s0 (token_id, author_id, prompt_author_wallet, minter_address, "
            "mint_timestamp, prompt, status, status_changed_at, generation_attempts, "
            "fallback_used, error_class, error_log, attempts, created_at, updated_at) "
            "SELECT id, %s, %s, %s, now(), '', 'detected', now(), 0, false, '', '[]', 0, now(), "
            "now() FROM generate_series(%s, %s) AS id",
            [author.pk, wallet(1), wallet(2), first, last],
        )


# -- finding ----------------------------------------------------------------------------


def test_missing_ids_are_found_as_ranges(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    assert missing_ranges(1) == []
    assert missing_ranges(4) == [(1, 3)]
    rows(1, 2)
    assert missing_ranges(3) == []
    rows(5, 5)
    rows(8, 9)
    with django_assert_num_queries(1):
        assert missing_ranges(12) == [(3, 4), (6, 7), (10, 11)]
    assert missing_ranges(5) == [(3, 4)]


def test_ranges_go_on_over_the_thousands_by_which_they_are_counted() -> None:
    rows(1, 998)
    rows(2_001, 2_004)
    rows(5_000, 5_000)
    assert missing_ranges(7_501) == [(999, 2_000), (2_005, 4_999), (5_001, 7_500)]
    assert missing_ranges(7_501, known_below=2_003) == [(2_005, 4_999), (5_001, 7_500)]


# -- filling ----------------------------------------------------------------------------


def test_lost_tokens_come_back_with_their_mints(history: DemoChain, reader: ChainClient) -> None:
    before = load_progress()
    lose(1, 4, 5, 6, 11)
    report = fill_gaps(reader)
    assert (report.missing, report.created, report.from_facts) == (5, 5, [])
    assert_equal_to_chain(history)
    assert fill_gaps(reader).missing == 0
    assert load_progress() == before  # of the backfill: it has read no further


def test_only_the_blocks_around_a_gap_are_read(
    history: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    whole = {m.start_token_id: m.block_number for m in history.mints()}
    lose(4, 5, 6)
    fill_gaps(bad_reader)
    assert_equal_to_chain(history)
    (span,) = proxy.log_ranges
    assert whole[2] - 16 <= span[0] < whole[4] < span[1] <= whole[7] + 16


def test_no_more_mints_than_the_limit_takes_are_registered(
    history: DemoChain, reader: ChainClient
) -> None:
    lose(4, 5, 6, 11)
    report = fill_gaps(reader, limit=2)
    assert (report.created, report.left) == (3, 0)  # a mint is registered whole
    assert fill_gaps(reader).created == 1
    assert_equal_to_chain(history)


# -- without logs -----------------------------------------------------------------------


def test_what_no_log_explains_is_taken_from_the_contract(
    history: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    history.wait(history.reveal(0, [5], [URI]))
    lose(4, 5, 6, 11)
    proxy.alter = without_logs
    proxy.requests.clear()
    report = fill_gaps(bad_reader)
    assert (report.created, report.from_facts) == (4, [4, 5, 6, 11])
    assert report.adopted == [5]
    facts = [methods for methods in proxy.requests if "eth_getLogs" not in methods]
    assert len(facts) == 2  # the survey, and every fact of all four tokens
    token = Token.objects.get(pk=4)
    assert token.mint_event is None
    assert token.prompt_author_wallet == history.token_prompt_author(4)
    assert token.minter_address == history.owner_of(4)
    assert token.prompt == "a fox in the snow" or token.prompt == "a lighthouse at night"
    assert token.status == TokenStatus.DETECTED
    assert Token.objects.get(pk=5).adopted_uri == URI
    moves = list(TokenTransition.objects.filter(token_id=5).values_list("to_status", flat=True))
    assert moves == ["detected", "revealed"]


def test_what_its_time_does_not_allow_is_left(
    history: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "FACTS_AT_ONCE", 2)
    lose(4, 5, 6)
    report = fill_gaps(reader, until=0.0)
    assert (report.created, report.ended_early, report.left) == (0, True, 3)
    # Silence may have taken all the time: one piece is asked for all the same.
    report = fill_gaps(reader, until=0.0, unread="no answer")
    assert (report.from_facts, report.ended_early, report.left) == ([4, 5], True, 1)


def test_a_token_without_a_log_needs_its_confirmations(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy, settings: Settings
) -> None:
    """Nothing else would hold it back from its reveal."""
    settings.MINT_CONFIRMATIONS = 3
    proxy.alter = without_logs
    mint(chain)
    chain.mine(1)
    report = fill_gaps(bad_reader)
    assert (report.created, report.left, report.ended_early) == (0, 1, False)
    chain.mine(1)
    assert fill_gaps(bad_reader).from_facts == [1]


def test_a_token_without_a_mint_that_a_reorg_took_is_withdrawn(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """But for one whose reveal is under way."""
    chain.mine(3)
    proxy.alter = without_logs
    mint(chain, FOX, 2)
    assert scan_chain(bad_reader).created == 2
    Token.objects.filter(pk=2).update(status=TokenStatus.READY, image_cid=CID, metadata_cid=CID)
    batch = RevealBatchFactory.create(tokens=[Token.objects.get(pk=2)])
    chain.reorg(1)
    prove(bad_reader, budget_seconds=600)
    assert Token.objects.count() == 2  # one answer is not enough
    chain.mine(2)
    assert prove(bad_reader, budget_seconds=600) == 1
    batch.items.update(is_open=False)
    for _ in range(2):
        prove(bad_reader, budget_seconds=600)
        chain.mine(2)
    assert not Token.objects.exists()


# -- the command ------------------------------------------------------------------------


def command(*arguments: str) -> str:
    output = io.StringIO()
    call_command("recover_tokens", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_fills_and_says_so(history: DemoChain) -> None:
    lose(4, 5, 6, 11)
    told = command("--dry-run")
    assert "missing here: 4 " in told
    assert "missing: 4 to 6, 11\n" in told
    assert Token.objects.count() == 8
    assert "3 registered from logs" in command("--limit", "1")
    assert "1 registered from logs" in command()
    assert "missing here: 0 " in command()
    assert_equal_to_chain(history)


def test_the_command_that_is_cut_short_says_how_far_it_came(
    history: DemoChain, proxy: NodeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "FACTS_AT_ONCE", 2)
    lose(4, 5, 6)
    proxy.alter = without_logs
    real = gaps.register_from_contract

    def is_away(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        raise HttpAnswer(503, "Unable to complete request at this time.")

    def and_then_is_away(*arguments: Any) -> Any:
        done = real(*arguments)
        proxy.alter = is_away
        return done

    monkeypatch.setattr(gaps, "register_from_contract", and_then_is_away)
    output = io.StringIO()
    with pytest.raises(CommandError, match="503") as caught:
        call_command("recover_tokens", stdout=output)
    assert caught.value.returncode == 2
    assert "missing here: 3 " in output.getvalue()
    assert "2 from the contract's facts" in output.getvalue()
    assert Token.objects.count() == 11


def test_the_command_names_what_vanished_with_status_2(history: DemoChain) -> None:
    rows(100, 100)
    output = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("recover_tokens", stdout=output)
    assert caught.value.returncode == 2
    assert "unknown to the contract: 100" in output.getvalue()


def test_a_mint_that_conflicts_with_a_token_from_the_contract_wins_once_it_is_settled(
    history: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    lose(4, 5, 6)
    proxy.alter = without_logs
    fill_gaps(bad_reader)
    Token.objects.filter(pk=5).update(prompt_author_wallet=wallet(0xEE))  # the node was wrong
    proxy.calm()
    told = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("recover_events", "--from-block", "0", stdout=told)
    assert caught.value.returncode == 2
    assert "conflict: 0x" in told.getvalue() and "tokens [5]" in told.getvalue()
    history.mine(20)
    for _ in range(2):
        prove(bad_reader, budget_seconds=600)
    assert_equal_to_chain(history)
