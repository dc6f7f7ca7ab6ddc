"""One look at the chain: what it finds, what it costs, and what a faulty node cannot make it do."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from glisk.clients.chain import ChainClient
from glisk.errors import ProviderError
from glisk.timing import timing
from sandbox.accounts import KEEPER
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token, TokenTransition
from tokens.models.mint import MintSource
from tokens.recovery.progress import Progress, load, load_progress, save_progress
from tokens.recovery.scan import ScanReport, scan_chain
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import DROP, NodeProxy, without_logs
from tokens.tests.recovery.stage import FOX, LIGHTHOUSE, URI, mint, reveal

pytestmark = pytest.mark.django_db

STRANGER = "0x00000000000000000000000000000000000000Ee"


def look(reader: ChainClient) -> ScanReport:
    reader.requests = reader.calls = 0
    return scan_chain(reader)


# -- what it finds ----------------------------------------------------------------------


@pytest.mark.fast
def test_the_first_look_registers_the_whole_history(chain: DemoChain, reader: ChainClient) -> None:
    for author in (FOX, LIGHTHOUSE, STRANGER):
        mint(chain, author, 3)
    report = look(reader)
    assert (report.created, report.complete) == (9, True)
    assert_equal_to_chain(chain)
    assert set(MintEvent.objects.values_list("source", flat=True)) == {MintSource.BACKFILL}


def test_it_begins_where_the_contract_was_deployed(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient, settings: Settings
) -> None:
    mint(chain)
    settings.CONTRACT_DEPLOYED_AT_BLOCK = chain.block_number()
    mint(chain)
    look(bad_reader)
    assert min(first for first, _ in proxy.log_ranges) == settings.CONTRACT_DEPLOYED_AT_BLOCK


# -- what it costs ----------------------------------------------------------------------


def test_without_news_it_is_one_round_trip_of_three_calls(
    chain: DemoChain, proxy: NodeProxy, bad_reader: ChainClient
) -> None:
    mint(chain, quantity=3)
    look(bad_reader)
    chain.mine(20)
    look(bad_reader)
    proxy.requests.clear()
    with CaptureQueriesContext(connection) as queries:
        assert look(bad_reader).complete
    assert proxy.requests == [["eth_chainId", "eth_getBlockByNumber", "eth_call"]]
    assert (bad_reader.requests, bad_reader.calls) == (1, 3)
    assert len(queries) == 3, "\n".join(q["sql"] for q in queries)  # state, unsettled, progress


def test_mints_are_settled_once_their_block_is_deep_enough(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain)
    look(reader)
    chain.mine(11)
    look(reader)
    assert (reader.requests, reader.calls) == (1, 4)  # its block, and no second trip
    assert MintEvent.objects.get().settled_at is None
    chain.mine(1)
    look(reader)
    assert MintEvent.objects.get().settled_at is not None


# -- what is revealed already -----------------------------------------------------------


def test_revealed_tokens_are_adopted_in_the_commit_that_creates_them(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, quantity=3)
    tx_hash = reveal(chain, 2)
    report = look(reader)
    assert report.adopted == [2]
    token = Token.objects.get(pk=2)
    assert token.status == TokenStatus.REVEALED
    assert (token.adopted_uri, token.metadata_cid) == (URI, URI.removeprefix("ipfs://"))
    assert token.reveal_tx_hash == tx_hash
    assert token.revealed_at is not None
    assert Token.objects.filter(status=TokenStatus.DETECTED).count() == 2
    moves = TokenTransition.objects.filter(token_id=2).values_list("from_status", "to_status")
    assert list(moves) == [("", "detected"), ("detected", "revealed")]


def test_an_id_that_was_revealed_before_its_mint_is_adopted_too(
    chain: DemoChain, reader: ChainClient
) -> None:
    chain.wait(chain.reveal(KEEPER.private_key, [1, 2], ["", "\udcff not a uri"[1:]]))
    mint(chain, quantity=3)
    look(reader)
    first, second, third = Token.objects.order_by("token_id")
    assert (first.status, first.adopted_uri, first.metadata_cid) == ("revealed", "", None)
    assert (second.status, second.adopted_uri) == ("revealed", " not a uri")
    assert third.status == TokenStatus.DETECTED


def test_the_transaction_of_a_reveal_in_a_later_range_is_entered_when_it_is_read(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    save_progress(Progress(range_blocks=1))
    mint(chain)
    chain.mine(3)
    tx_hash = reveal(chain, 1)
    look(bad_reader)
    assert Token.objects.get().reveal_tx_hash == tx_hash
    assert len(proxy.log_ranges) > 1


def test_a_reveal_of_ids_that_no_column_holds_stops_nothing(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, quantity=2)
    revealed_by = reveal(chain, 2**31, 2**63, 2**256 - 1, 1)
    assert scan_chain(reader).adopted == [1]
    mint(chain, LIGHTHOUSE)
    call_command("recover_events", "--from-block", "0", stdout=io.StringIO())
    assert_equal_to_chain(chain)
    assert Token.objects.get(pk=1).reveal_tx_hash == revealed_by


# -- nodes that are behind, silent or wrong ---------------------------------------------


def refused(reader: ChainClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        look(reader)
    return caught.value


def test_empty_logs_do_not_pass_for_read_blocks(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy, settings: Settings
) -> None:
    settings.MINT_CONFIRMATIONS = 5  # nothing may be taken without its log yet
    chain.mine(10)  # a node need not know the state of blocks before the test's
    mint(chain, quantity=2)
    minted_at = chain.block_number()
    proxy.alter = without_logs
    report = look(bad_reader)
    assert not report.complete
    block = load_progress().block
    assert block is not None and block < minted_at
    proxy.calm()
    assert look(bad_reader).created == 2
    assert_equal_to_chain(chain)


def test_a_node_that_hides_a_gap_is_asked_less_and_less_often(
    chain: DemoChain,
    bad_reader: ChainClient,
    proxy: NodeProxy,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MINT_CONFIRMATIONS = 50
    chain.mine(60)
    monkeypatch.setattr(timing, "first_retry", 3600.0)
    mint(chain)
    proxy.alter = without_logs
    look(bad_reader)
    proxy.log_ranges.clear()
    look(bad_reader)
    assert proxy.log_ranges == []
    mint(chain)  # another gap: tried at once
    look(bad_reader)
    assert proxy.log_ranges != []


Answer = Callable[[dict[str, Any]], Any]
BROKEN: dict[str, tuple[str, Answer]] = {
    "no newest block": ("eth_getBlockByNumber", lambda a: {**a, "result": None}),
    "a block without a hash": ("eth_getBlockByNumber", lambda a: {**a, "result": {}}),
    "half a batch": ("eth_call", lambda a: DROP),
    "logs that are no list": ("eth_getLogs", lambda a: {**a, "result": None}),
    "logs of strangers": (
        "eth_getLogs",
        lambda a: {**a, "result": [{**log, "address": STRANGER} for log in a["result"]]},
    ),
    "logs of other blocks": (
        "eth_getLogs",
        lambda a: {**a, "result": [{**log, "blockNumber": "0xffff"} for log in a["result"]]},
    ),
    "a member's error": (
        "eth_call",
        lambda a: {"id": a["id"], "jsonrpc": "2.0", "error": {"code": -32603, "message": "oops"}},
    ),
}


def test_a_broken_answer_is_taken_for_none(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    mint(chain)
    look(bad_reader)
    before = load()
    mint(chain, quantity=2)
    for fault, (broken, answer) in BROKEN.items():

        def alter(
            method: str,
            params: list[Any],
            whole: dict[str, Any],
            broken: str = broken,
            answer: Answer = answer,
        ) -> Any:
            return answer(whole) if method == broken else whole

        proxy.alter = alter
        refused(bad_reader)
        assert load() == before, fault
        assert Token.objects.count() == 1, fault
    proxy.calm()
    look(bad_reader)
    assert_equal_to_chain(chain)


def test_a_node_that_does_not_know_the_newest_block_yet_is_asked_again(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """The head comes from one node of a pool, the logs from another that is behind."""
    mint(chain, quantity=2)
    head = hex(chain.block_number())

    def behind(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method == "eth_getLogs":
            return {**answer, "result": []}
        return {**answer, "result": None} if params == [head, False] else answer

    proxy.alter = behind
    assert "does not know block" in str(refused(bad_reader))
    assert load_progress().block is None


def test_a_count_that_no_contract_of_ours_has_is_refused(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """Another contract by the same function name: millions of missing tokens were looked for."""

    def counts(word: str, method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        return answer | {"result": word} if method == "eth_call" else answer

    mint(chain)
    for counted in (0, 10**12, 2**256 - 1):
        proxy.alter = partial(counts, f"0x{counted:064x}")
        assert "nextTokenId() is" in str(refused(bad_reader))
    assert not Token.objects.exists()
    assert load_progress().block is None
