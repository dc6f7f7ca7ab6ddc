"""Refusals of a range of logs, known by the words of each provider."""

from __future__ import annotations

import pytest

from glisk.breaker import BreakerState
from glisk.clients.chain import ChainClient
from glisk.clients.chain.refusals import RangeTooWideError, RpcError, as_too_wide, is_beyond_head
from glisk.console.advice import advice_for_breaker
from glisk.errors import AccountError, InvalidRequestError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, answer

FREE = (
    "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. "
    "Based on your parameters, this block range should work: [0x3aab3f5, 0x3aab3fe]. Upgrade to "
    "PAYG for expanded block range."
)
SIZE = (
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range "
    "and no limit on the response size, or you can request any block range with a cap of 10K logs "
    "in the response. Based on your parameters and the response size limit, this block range "
    "should work: [0x10, 0x1f]"
)


def test_refusals_of_a_range_are_known_by_their_words() -> None:
    for message, blocks, by_size in (
        (FREE, 10, False),
        (SIZE, 16, True),
        ("query returned more than 10000 results", None, True),
        (
            "query returned more than 10000 results. Try with this block range [0x1, 0x5].",
            5,
            True,
        ),
        ("query exceeds max block range 10000", 10_000, False),
        ("query exceeds max results 20000, retry with the range 100-199", 100, True),
        ("eth_getLogs is limited to a 10,000 range", 10_000, False),
        ("eth_getLogs and eth_newFilter are limited to a 10,000 blocks range", 10_000, False),
        ("exceed maximum block range: 2000", 2000, False),
        ("block range is too wide", None, False),
        ("Block range limit exceeded. See more details at …", None, False),
        ("ranges over 10000 blocks are not supported on freetier", 10_000, False),
        ("block range too large: [0x9, 0x1]", None, False),
        ("please limit the query to at most 8 blocks", 8, False),
        ("maximum [from, to] blocks distance: 2000", 2000, False),
        ("requested too many blocks from 100 to 5000, maximum is set to 2048", 2048, False),
        ("Maximum allowed number of requested blocks is 1000", 1000, False),
        ("query must be smaller than size 1024", 1024, False),
        ("response size should not greater than 10000000 bytes", None, True),
        ("exceeds the range allowed for your plan", None, False),
        ("ask for 500 blocks or fewer, friend", 500, False),
        ("execution aborted (timeout = 5s)", None, False),
        ("internal error", None, False),
    ):
        error = as_too_wide(RpcError(-32602, message, "eth_getLogs"))
        assert error is not None
        assert (error.blocks, error.by_size) == (blocks, by_size), message


def test_refusals_of_the_account_and_the_rate_are_not_taken_for_them() -> None:
    for error in (
        TransientError("chain: rate limit: over rate limit", vendor="chain", rate_limited=True),
        AccountError("chain: upgrade for a larger block range", vendor="chain"),
    ):
        assert as_too_wide(error) is None
        assert not is_beyond_head(error)


def test_what_does_not_name_the_range_may_be_its_fault_all_the_same() -> None:
    for error in (
        TransientError("chain: Remote end closed connection without response", vendor="chain"),
        InvalidRequestError("chain: POST answered HTTP 404: not found", vendor="chain"),
    ):
        too_wide = as_too_wide(error)
        assert too_wide is not None
        assert (too_wide.blocks, too_wide.by_size) == (None, False)
        assert too_wide.unanswered is isinstance(error, TransientError)


@pytest.mark.parametrize(
    ("code", "message", "is_range"),
    [
        (-32005, "query returned more than 10000 results", True),
        (-32005, "limit exceeded", True),
        (-32005, "daily request count exceeded, request rate limited", False),
        (-32005, "project ID request rate exceeded", False),
        (-32016, "over rate limit", False),
        (429, "slow down", False),
    ],
)
def test_a_limit_of_logs_is_one_of_the_range_unless_it_speaks_of_the_rate(
    server: ScriptedServer, reader: ChainClient, code: int, message: str, is_range: bool
) -> None:
    error = {"code": code, "message": message}
    server.script(answer(200, {"jsonrpc": "2.0", "id": 1, "error": error}))
    with pytest.raises(ProviderError) as caught:
        reader.logs(first=0, last=9)
    assert isinstance(caught.value, RangeTooWideError) is is_range
    assert (getattr(caught.value, "rate_limited", False)) is not is_range


@pytest.mark.parametrize("status", [200, 400, 429, 503])
def test_a_rate_limit_narrows_no_range_and_is_advised_on_whatever_its_status(
    server: ScriptedServer, reader: ChainClient, status: int
) -> None:
    error = {"code": -32000, "message": "request rate exceeded"}
    server.script(answer(status, {"jsonrpc": "2.0", "id": None, "error": error}))
    with pytest.raises(TransientError) as caught:
        reader.logs(first=0, last=9)
    assert caught.value.rate_limited
    refusal = BreakerState(code=caught.value.code or "")
    assert "asked more slowly" in advice_for_breaker("rpc", refusal)


def test_what_a_node_says_beside_its_message_counts(
    server: ScriptedServer, reader: ChainClient
) -> None:
    error = {"code": -32000, "message": "server error", "data": "at most 8 blocks"}
    server.script(answer(200, {"jsonrpc": "2.0", "id": 1, "error": error}))
    with pytest.raises(RangeTooWideError) as caught:
        reader.logs(first=0, last=9)
    assert caught.value.blocks == 8


@pytest.mark.parametrize("near_head", [False, True])
def test_the_free_plans_refusal_is_read_from_an_http_400(
    server: ScriptedServer, reader: ChainClient, near_head: bool
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": FREE}}
    server.script(answer(400, body))
    with pytest.raises(RangeTooWideError) as caught:
        reader.logs(first=0, last=2_000, near_head=near_head)
    assert caught.value.blocks == 10
