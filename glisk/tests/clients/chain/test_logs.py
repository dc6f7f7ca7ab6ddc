"""Logs of mints and reveals, and the ranges in which a node gives them."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.chain import REVEALED_TOPIC, ChainClient, revealed_ids
from glisk.errors import TransientError
from glisk.tests.clients.chain.stage import CONTRACT, TOPIC, block, log, result, results, word
from glisk.tests.clients.scripted_server import ScriptedServer, answer


def test_logs_of_mints_and_reveals_are_asked_for_together(
    server: ScriptedServer, reader: ChainClient
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


def test_what_was_not_asked_for_is_no_answer_and_what_was_taken_back_is_left_out(
    server: ScriptedServer, reader: ChainClient
) -> None:
    server.script(result([log(removed=True)]))
    assert reader.logs(first=5, last=8) == []
    answers: list[Any] = [
        None,
        "logs",
        [None],
        [log(address="0x" + "11" * 20)],
        [log(topics=[])],
        [log(topics=[word(9)])],
        [log(blockNumber="0x4")],
        [log(blockNumber="0x9")],
        [log(blockNumber=None)],
    ]
    for answered in answers:
        server.script(result(answered))
        with pytest.raises(TransientError):
            reader.logs(first=5, last=8)


def test_near_the_head_the_node_has_to_know_the_last_block(
    server: ScriptedServer, reader: ChainClient
) -> None:
    server.script(results([log()], block(8)), results([], None))
    assert len(reader.logs(first=5, last=8, near_head=True)) == 1
    with pytest.raises(TransientError, match="does not know block 8"):
        reader.logs(first=5, last=8, near_head=True)
    for message in ("block range extends beyond current head block", "header not found"):
        error = {"code": -32000, "message": message}
        server.script(answer(200, {"jsonrpc": "2.0", "id": 1, "error": error}))
        with pytest.raises(TransientError, match="does not know block 8"):
            reader.logs(first=5, last=8)


def test_ids_of_a_reveal_are_read() -> None:
    words = [32, 3, 1, 2**64, 7]
    data = "0x" + "".join(f"{value:064x}" for value in words)
    assert revealed_ids({"data": data}) == [1, 2**64, 7]
    for broken in ("0x", "0xzz", None, "0x" + "ff" * 64, data[:-64]):
        assert revealed_ids({"data": broken}) == []
