"""Reading mints from a node: what its answers mean, and what is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.log_ranges import RangeTooWideError, as_too_wide, is_beyond_head
from glisk.clients.mint_reader import (
    CALLS_AT_ONCE,
    REVEALED_TOPIC,
    BlockFacts,
    MintReader,
    WrongChainError,
    revealed_ids,
)
from glisk.clients.rpc import RpcClient, RpcError
from glisk.errors import AccountError, InvalidRequestError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer

CONTRACT = "0xC0dEc0dec0DeC0Dec0dEc0DEC0DEC0DEC0DEC0dE"
TOPIC = "0x" + "20" * 32
HASH = "0x" + "ab" * 32
KEY = "alch-secret-key-in-the-path"


@pytest.fixture
def reader(server: ScriptedServer) -> MintReader:
    rpc = RpcClient(f"{server.url}/v2/{KEY}", options=HttpOptions(read_timeout_seconds=60))
    return MintReader(rpc, contract_address=CONTRACT, topic=TOPIC, chain_id=8453)


def results(*values: Any) -> Step:
    """Answer a batch, in reversed order, with results or {"error": …}."""
    members = [
        {"jsonrpc": "2.0", "id": index}
        | (value if isinstance(value, dict) and "error" in value else {"result": value})
        for index, value in enumerate(values)
    ]
    return answer(200, json.dumps(members[::-1]))


def result(value: Any) -> Step:
    return answer(200, {"jsonrpc": "2.0", "id": 1, "result": value})


def block(number: int = 7, **facts: Any) -> dict[str, Any]:
    return {"number": hex(number), "hash": HASH.upper().replace("X", "x"), "timestamp": "0x65"} | (
        facts
    )


def word(value: int) -> str:
    return f"0x{value:064x}"


def text(value: bytes) -> str:
    size = -(-len(value) // 32) * 32
    return "0x" + f"{32:064x}{len(value):064x}" + value.ljust(size, b"\0").hex()


def log(number: int = 5, **facts: Any) -> dict[str, Any]:
    return {
        "address": CONTRACT.lower(),
        "topics": [TOPIC, word(1), word(2), word(3)],
        "data": "0x",
        "blockNumber": hex(number),
        "removed": False,
    } | facts


def revert(selector: str = "0x7e273289") -> dict[str, Any]:
    message = f"execution reverted: custom error {selector}"
    return {"error": {"code": 3, "message": message, "data": selector}}


# -- the chain now ----------------------------------------------------------------------


def test_a_survey_is_one_request(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results("0x2105", block(9), word(12), block(5), None))
    survey = reader.survey(blocks=[6, 5, 6])
    assert survey.head == BlockFacts(9, HASH, 0x65)
    assert survey.next_token_id == 12
    assert survey.blocks == {5: BlockFacts(5, HASH, 0x65), 6: None}
    (request,) = server.requests
    assert [call["method"] for call in request.json] == [
        "eth_chainId",
        "eth_getBlockByNumber",
        "eth_call",
        "eth_getBlockByNumber",
        "eth_getBlockByNumber",
    ]
    assert (reader.requests, reader.calls) == (1, 5)


def test_another_chain_is_refused(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results("0x1", block(), word(1)))
    with pytest.raises(WrongChainError, match="on chain 1, but NETWORK means 8453"):
        reader.survey()


def test_an_address_without_code_is_no_empty_contract(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results("0x2105", block(), "0x"))
    with pytest.raises(TransientError, match="no contract at"):
        reader.survey()


@pytest.mark.parametrize(
    "members",
    [
        ("0x2105", None, "0x1"),
        ("0x2105", {"number": "0x1"}, "0x1"),
        ("0x2105", block(number=7, hash=5), "0x1"),
        ("0x2105", block(), "nonsense"),
        ("0x2105", block(), None),
        ("0x2105", block()),
        (None, block(), "0x1"),
        ("0x2105", block(), {"error": {"code": -32603, "message": "internal"}}),
        ("0x2105", block(), {"error": {"code": 429, "message": "compute units per second"}}),
    ],
)
def test_half_an_answer_is_none(
    server: ScriptedServer, reader: MintReader, members: tuple[Any, ...]
) -> None:
    server.script(results(*members))
    with pytest.raises(ProviderError):
        reader.survey()


def test_another_block_than_asked_for_is_no_answer(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results(block(6)))
    with pytest.raises(TransientError, match="another block"):
        reader.blocks([5])


def test_nothing_asked_for_is_no_request(server: ScriptedServer, reader: MintReader) -> None:
    assert reader.blocks([]) == {}
    assert reader.tokens([]) == {}
    assert server.requests == []


# -- logs -------------------------------------------------------------------------------


def test_logs_of_mints_and_reveals_are_asked_for_together(
    server: ScriptedServer, reader: MintReader
) -> None:
    reveal = log(topics=[REVEALED_TOPIC], address=CONTRACT)
    server.script(result([log(), reveal]))
    first, second = reader.logs(first=5, last=8)
    assert (reader.is_reveal(first), reader.is_reveal(second)) == (False, True)
    (asked,) = server.requests[0].json["params"]
    assert asked == {
        "address": CONTRACT,
        "topics": [[TOPIC, REVEALED_TOPIC]],
        "fromBlock": "0x5",
        "toBlock": "0x8",
    }


def test_logs_that_were_taken_back_are_left_out(server: ScriptedServer, reader: MintReader) -> None:
    server.script(result([log(removed=True)]))
    assert reader.logs(first=5, last=8) == []


@pytest.mark.parametrize(
    "answered",
    [
        None,
        {},
        "logs",
        ["log"],
        [None],
        [log(address=None)],
        [log(address="0x" + "11" * 20)],
        [log(topics=[])],
        [log(topics=[word(9)])],
        [log(blockNumber="0x4")],
        [log(blockNumber="0x9")],
        [log(blockNumber=None)],
    ],
)
def test_an_answer_that_was_not_asked_for_is_none(
    server: ScriptedServer, reader: MintReader, answered: Any
) -> None:
    server.script(result(answered))
    with pytest.raises(TransientError):
        reader.logs(first=5, last=8)


def test_near_the_head_the_node_has_to_know_the_last_block(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results([log()], block(8)), results([], None))
    assert len(reader.logs(first=5, last=8, near_head=True)) == 1
    with pytest.raises(TransientError, match="does not know block 8"):
        reader.logs(first=5, last=8, near_head=True)


@pytest.mark.parametrize(
    "message",
    [
        "block range extends beyond current head block",
        "invalid block range params",
        "header not found",
    ],
)
def test_a_range_beyond_the_head_is_asked_for_again_later(
    server: ScriptedServer, reader: MintReader, message: str
) -> None:
    error = {"code": -32000, "message": message}
    server.script(answer(200, {"jsonrpc": "2.0", "id": 1, "error": error}))
    with pytest.raises(TransientError, match="does not know block 8"):
        reader.logs(first=5, last=8)


def test_several_ranges_are_one_request(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results([log(5)], [], [log(20), log(21)]))
    assert [len(logs) for logs in reader.logs_of_spans([(5, 8), (9, 9), (20, 29)])] == [1, 0, 2]


def test_ids_of_a_reveal_are_read() -> None:
    words = [32, 3, 1, 2**64, 7]
    data = "0x" + "".join(f"{value:064x}" for value in words)
    assert revealed_ids({"data": data}) == [1, 2**64, 7]
    for broken in ("0x", "0xzz", None, "0x" + "ff" * 64, data[:-64]):
        assert revealed_ids({"data": broken}) == []


# -- refusals of a range ----------------------------------------------------------------


def refused(code: int, message: str) -> RpcError:
    return RpcError(code, message, "eth_getLogs")


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


@pytest.mark.parametrize(
    ("message", "blocks", "by_size"),
    [
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
    ],
)
def test_refusals_of_a_range_are_known_by_their_words(
    message: str, blocks: int | None, by_size: bool
) -> None:
    error = as_too_wide(refused(-32602, message))
    assert error is not None
    assert (error.blocks, error.by_size) == (blocks, by_size)


@pytest.mark.parametrize(
    "error",
    [
        refused(-32603, "internal error"),
        refused(-32000, "execution timeout"),
        TransientError("chain: rate limit: over rate limit", vendor="chain", rate_limited=True),
        AccountError("chain: Monthly capacity limit exceeded.", vendor="chain"),
        AccountError("chain: upgrade for a larger block range", vendor="chain"),
        InvalidRequestError("chain: POST answered HTTP 404: not found", vendor="chain"),
    ],
)
def test_other_refusals_are_not_taken_for_them(error: ProviderError) -> None:
    assert as_too_wide(error) is None
    assert not is_beyond_head(error)


def test_infuras_code_for_too_many_logs_is_no_rate_limit(
    server: ScriptedServer, reader: MintReader
) -> None:
    error = {"code": -32005, "message": "query returned more than 10000 results"}
    server.script(answer(200, {"jsonrpc": "2.0", "id": 1, "error": error}))
    with pytest.raises(RangeTooWideError):
        reader.logs(first=0, last=9)


@pytest.mark.parametrize("near_head", [False, True])
def test_the_free_plans_refusal_is_read_from_an_http_400(
    server: ScriptedServer, reader: MintReader, near_head: bool
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message": FREE}}
    server.script(answer(400, body))
    with pytest.raises(RangeTooWideError) as caught:
        reader.logs(first=0, last=2_000, near_head=near_head)
    assert caught.value.blocks == 10
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)


# -- tokens -----------------------------------------------------------------------------


def test_facts_of_many_tokens_are_few_requests(server: ScriptedServer, reader: MintReader) -> None:
    one = (word(0xAA), word(1), word(0xBB), text(b"ipfs://Qm"))
    per_request = CALLS_AT_ONCE // 4
    server.script(results(*one * per_request), results(*one))
    tokens = reader.tokens(range(1, per_request + 2))
    assert len(server.requests) == 2
    token = tokens[per_request + 1]
    assert (token.prompt_author, token.owner) == ("0x" + "0" * 38 + "aa", "0x" + "0" * 38 + "bb")
    assert (token.exists, token.revealed, token.uri) == (True, True, "ipfs://Qm")


def test_a_token_that_nobody_owns_does_not_exist(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results(word(0), word(1), revert(), revert()))
    token = reader.tokens([9])[9]
    assert (token.exists, token.owner, token.uri, token.revealed) == (False, "", "", True)


def test_a_fault_of_the_node_is_no_missing_token(
    server: ScriptedServer, reader: MintReader
) -> None:
    oops = {"error": {"code": -32000, "message": "missing trie node"}}
    server.script(results(word(0), word(0), oops, revert()))
    with pytest.raises(ProviderError):
        reader.tokens([9])


def test_a_node_without_the_contracts_state_is_not_believed(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results("0x", "0x", "0x", "0x"), results("0x", "0x", "0x", "0x"))
    with pytest.raises(TransientError):
        reader.tokens([9])
    assert not reader.tokens([9], block=3)[9].exists  # before the contract was deployed


def test_a_past_block_is_asked_for_by_its_number(
    server: ScriptedServer, reader: MintReader
) -> None:
    server.script(results(word(0), word(0), revert(), revert()))
    reader.tokens([9], block=255)
    assert {call["params"][1] for call in server.requests[0].json} == {"0xff"}


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        (b"", ""),
        ("ipfs://Qm…".encode(), "ipfs://Qm…"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x00b", "a\ufffdb"),
    ],
)
def test_an_uri_may_be_any_bytes(
    server: ScriptedServer, reader: MintReader, uri: bytes, read: str
) -> None:
    """The contract does not look at what it stores, for ever."""
    server.script(results(word(1), word(1), word(1), text(uri)))
    assert reader.tokens([1])[1].uri == read


def test_an_uri_that_is_cut_off_is_no_answer(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results(word(1), word(1), word(1), text(b"ipfs://Qm")[:-70]))
    with pytest.raises(TransientError, match="no text"):
        reader.tokens([1])


def test_revealed_tokens_are_picked_out(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results(word(1), word(0), word(1)))
    assert reader.revealed([4, 5, 6]) == [4, 6]


# -- receipts ---------------------------------------------------------------------------


def test_receipts_come_by_hash(server: ScriptedServer, reader: MintReader) -> None:
    receipt = {"status": "0x1", "logs": [log(), log(address="0x" + "11" * 20), "nonsense"]}
    server.script(results(receipt, None))
    found = reader.receipts(["0xbb", "0xaa", "0xbb"])
    assert found == {"0xaa": receipt, "0xbb": None}
    assert [reader.is_mint(each) for each in receipt["logs"]] == [True, False, False]


def test_a_receipt_of_another_form_is_no_answer(server: ScriptedServer, reader: MintReader) -> None:
    server.script(results("mined"))
    with pytest.raises(TransientError, match="no receipt"):
        reader.receipts(["0xaa"])


READS: list[Callable[[MintReader], Any]] = [
    lambda reader: reader.survey(),
    lambda reader: reader.blocks([1]),
    lambda reader: reader.logs(first=1, last=2),
    lambda reader: reader.logs_of_spans([(1, 2)]),
    lambda reader: reader.receipts(["0xaa"]),
    lambda reader: reader.tokens([1]),
    lambda reader: reader.revealed([1]),
]


@pytest.mark.parametrize("read", READS)
def test_no_error_tells_the_key(
    server: ScriptedServer, reader: MintReader, read: Callable[[MintReader], Any]
) -> None:
    server.script(answer(500, f"error at {server.url}/v2/{KEY}"))
    with pytest.raises(TransientError) as caught:
        read(reader)
    assert KEY not in str(caught.value) + repr(caught.value)
