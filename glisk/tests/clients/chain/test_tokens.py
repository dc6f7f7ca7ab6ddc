"""Facts of tokens, receipts, and errors that do not tell the node's key."""

from __future__ import annotations

import pytest

from glisk.clients.chain import CALLS_AT_ONCE, ChainClient
from glisk.errors import ProviderError, TransientError
from glisk.tests.clients.chain.stage import HASH, log, results, revert, text, word
from glisk.tests.clients.scripted_server import ScriptedServer


def test_facts_of_many_tokens_are_few_requests(server: ScriptedServer, reader: ChainClient) -> None:
    one = (word(0xAA), word(1), word(0xBB), text(b"ipfs://Qm"))
    per_request = CALLS_AT_ONCE // 4
    server.script(results(*one * per_request), results(*one))
    tokens = reader.tokens(range(1, per_request + 2))
    assert len(server.requests) == 2
    token = tokens[per_request + 1]
    assert (token.prompt_author, token.owner) == ("0x" + "0" * 38 + "aa", "0x" + "0" * 38 + "bb")
    assert (token.exists, token.revealed, token.uri) == (True, True, "ipfs://Qm")


def test_a_token_that_nobody_owns_does_not_exist(
    server: ScriptedServer, reader: ChainClient
) -> None:
    server.script(results(word(0), word(1), revert(), revert()))
    token = reader.tokens([9])[9]
    assert (token.exists, token.owner, token.uri, token.revealed) == (False, "", "", True)


def test_a_fault_of_the_node_is_no_missing_token(
    server: ScriptedServer, reader: ChainClient
) -> None:
    oops = {"error": {"code": -32000, "message": "missing trie node"}}
    server.script(results(word(0), word(0), oops, revert()))
    with pytest.raises(ProviderError):
        reader.tokens([9])


def test_a_node_without_the_contracts_state_is_not_believed(
    server: ScriptedServer, reader: ChainClient
) -> None:
    server.script(results("0x", "0x", "0x", "0x"), results("0x", "0x", "0x", "0x"))
    with pytest.raises(TransientError):
        reader.tokens([9])
    assert not reader.tokens([9], block=255)[9].exists  # before the contract was deployed
    assert {call["params"][1] for call in server.requests[1].json} == {"0xff"}


def test_an_uri_may_be_any_bytes_but_not_cut_off(
    server: ScriptedServer, reader: ChainClient
) -> None:
    """The contract does not look at what it stores, for ever."""
    for uri, read in (
        (b"", ""),
        ("ipfs://Qm…".encode(), "ipfs://Qm…"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a\x00b", "a\ufffdb"),
    ):
        server.script(results(word(1), word(1), word(1), text(uri)))
        assert reader.tokens([1])[1].uri == read
    server.script(results(word(1), word(1), word(1), text(b"ipfs://Qm")[:-70]))
    with pytest.raises(TransientError, match="a text"):
        reader.tokens([1])


def test_revealed_tokens_are_picked_out(server: ScriptedServer, reader: ChainClient) -> None:
    server.script(results(word(1), word(0), word(1)))
    assert reader.revealed([4, 5, 6]) == [4, 6]


def test_receipts_come_by_hash(server: ScriptedServer, reader: ChainClient) -> None:
    receipt = {
        "transactionHash": "0xaa",
        "blockNumber": "0x5",
        "blockHash": HASH,
        "status": "0x1",
        "gasUsed": "0x1",
        "logs": [log(), log(address="0x" + "11" * 20), "nonsense"],
    }
    server.script(results(receipt, None))
    found = reader.receipts(["0xbb", "0xaa", "0xbb"])
    assert found["0xaa"] and found["0xbb"] is None
    assert [reader.is_mint(each) for each in found["0xaa"].logs] == [True, False]
    server.script(results("mined"))
    with pytest.raises(TransientError, match="a receipt"):
        reader.receipts(["0xaa"])
