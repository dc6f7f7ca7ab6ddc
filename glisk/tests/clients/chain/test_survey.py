"""The chain now, by one request: what an answer means, and what is no answer."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.chain import Block, ChainClient
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.tests.clients.chain.stage import HASH, block, results, word
from glisk.tests.clients.scripted_server import ScriptedServer


def test_a_survey_is_one_request(server: ScriptedServer, reader: ChainClient) -> None:
    server.script(results("0x2105", block(9), word(12), block(5), None))
    survey = reader.survey(blocks=[6, 5, 6])
    assert survey.head == Block(9, HASH, 0x65)
    assert survey.next_token_id == 12
    assert survey.blocks == {5: Block(5, HASH, 0x65), 6: None}
    (request,) = server.requests
    assert [call["method"] for call in request.json] == [
        "eth_chainId",
        "eth_getBlockByNumber",
        "eth_call",
        "eth_getBlockByNumber",
        "eth_getBlockByNumber",
    ]
    assert (reader.requests, reader.calls) == (1, 5)


def test_another_chain_is_refused(server: ScriptedServer, reader: ChainClient) -> None:
    server.script(results("0x1", block(), word(1)))
    with pytest.raises(AccountError, match="on chain 1, but NETWORK means 8453"):
        reader.survey()


def test_half_an_answer_is_none(server: ScriptedServer, reader: ChainClient) -> None:
    answers: list[tuple[Any, ...]] = [
        ("0x2105", None, "0x1"),
        ("0x2105", {"number": "0x1"}, "0x1"),
        ("0x2105", block(number=7, hash=5), "0x1"),
        ("0x2105", block(), "0x"),  # no contract there
        ("0x2105", block(), "nonsense"),
        ("0x2105", block(), None),
        ("0x2105", block()),
        (None, block(), "0x1"),
        ("0x2105", block(), {"error": {"code": -32603, "message": "internal"}}),
    ]
    for members in answers:
        server.script(results(*members))
        with pytest.raises(ProviderError):
            reader.survey()


def test_another_block_than_asked_for_is_no_answer(
    server: ScriptedServer, reader: ChainClient
) -> None:
    server.script(results(block(6)))
    with pytest.raises(TransientError, match="expected block 5"):
        reader.blocks([5])


def test_nothing_asked_for_is_no_request(server: ScriptedServer, reader: ChainClient) -> None:
    assert reader.blocks([]) == {}
    assert reader.tokens([]) == {}
    assert server.requests == []
