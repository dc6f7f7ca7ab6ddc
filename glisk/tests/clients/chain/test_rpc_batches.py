"""A node that takes small batches only: it is asked in parts, whatever its refusal looks like."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from glisk.clients.chain import Call, RpcClient, RpcError
from glisk.clients.http import HttpOptions
from glisk.errors import AccountError, InvalidRequestError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer
from glisk.timing import timing
from sandbox.faulty_rpc import (
    BatchRefusal,
    refused_as_list,
    refused_as_object,
    refused_by_status,
    refused_each,
)

CALLS: list[Call] = [("m", [number]) for number in range(110)]
RESULTS = list(range(110))


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> RpcClient:
    return RpcClient(server.url, options=options)


def node(most: int, refusal: BatchRefusal) -> Step:
    """Answer each call with its first parameter, and refuse longer batches."""

    def step(server: ScriptedServer, connection: socket.socket) -> bool:
        asked = server.requests[-1].json
        calls = asked if isinstance(asked, list) else [asked]
        status: int = 200
        body: Any = [{"id": call["id"], "result": call["params"][0]} for call in calls]
        if isinstance(asked, list) and len(calls) > most:
            status, body = refusal(calls)
        elif not isinstance(asked, list):
            (body,) = body
        return answer(status, json.dumps(body))(server, connection)

    return step


def sizes(server: ScriptedServer) -> list[int]:
    """How many calls each request held; 0 for a call outside of any batch."""
    return [len(r.json) if isinstance(r.json, list) else 0 for r in server.requests]


REFUSALS = [
    refused_as_list(-32600, "batch too large"),  # geth
    refused_as_list(-32600, "batch too large", names_first=True),
    refused_as_list(-32000, "no", names_first=True),
    refused_as_object(-32600, "batch too large"),
    refused_as_object(-32014, "maximum 10 calls in 1 batch"),  # Base's public node
    refused_as_object(-32010, "over the limit"),
    refused_as_object(-32005, "limit exceeded: too many at once"),
    refused_as_object(31, "Batch of more than 3 requests are not allowed on your plan"),
    refused_as_object(-32600, "batch too large", status=400),
    refused_as_object(-32005, "batch size exceeded", status=403),
    refused_as_object(-32603, "the batch is too much for me", status=500),
    refused_each(-32600, "batch limit exceeded"),
    refused_by_status(413),
    refused_by_status(422),
]


@pytest.mark.parametrize(("most", "refusal"), [(3, REFUSALS[0]), *((20, r) for r in REFUSALS)])
def test_a_batch_that_is_too_large_is_split_until_it_fits_and_the_size_is_kept(
    server: ScriptedServer, client: RpcClient, most: int, refusal: BatchRefusal
) -> None:
    server.script(*[node(most, refusal)] * 300)
    assert client.batch(CALLS) == RESULTS
    first = sizes(server)
    assert sum(size > most for size in first) <= 7  # 110, 55, 27, 13, 6, 3, 1 at worst
    server.requests.clear()
    assert client.batch(CALLS) == RESULTS
    assert all(size <= most for size in sizes(server))


def test_a_limit_that_the_refusal_names_is_used_at_once(
    server: ScriptedServer, client: RpcClient
) -> None:
    server.script(*[node(20, refused_as_list(-32600, "batch too large, at most 20 calls"))] * 20)
    assert client.batch(CALLS) == RESULTS
    assert sizes(server) == [110, *[20] * 5, 10]


def test_a_node_without_batches_is_asked_call_by_call(
    server: ScriptedServer, client: RpcClient
) -> None:
    server.script(*[node(0, refused_as_object(-32600, "Invalid Request"))] * 20)
    assert client.batch(CALLS[:2]) == [0, 1]
    assert client.batch(CALLS[:1]) == [0]
    assert sizes(server) == [2, 0, 0, 0]


def test_what_was_learned_is_tried_again_after_a_while(
    server: ScriptedServer, client: RpcClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script(node(5, refused_by_status(413)), *[node(110, refused_by_status(413))] * 9)
    assert client.batch(CALLS[:10]) == RESULTS[:10]
    assert client.batch(CALLS[:10]) == RESULTS[:10]
    assert sizes(server) == [10, 5, 5, 5, 5]
    client._size_kept_until = 0.0
    assert client.batch(CALLS) == RESULTS
    assert sizes(server)[-1] == 110


def test_a_bad_moment_makes_no_later_batch_small(server: ScriptedServer, client: RpcClient) -> None:
    limit = node(2, refused_as_object(-32603, "internal error"))
    well = node(110, refused_by_status(413))
    server.script(well, limit, *[well] * 9)
    assert client.batch(CALLS) == RESULTS
    assert client.batch(CALLS[:3]) == [0, 1, 2]  # refused once, and answered call by call
    assert client.batch(CALLS) == RESULTS
    assert sizes(server) == [110, 3, 0, 0, 0, 110]


def test_a_limit_that_is_new_is_kept_once_it_shows_again(
    server: ScriptedServer, client: RpcClient
) -> None:
    server.script(node(110, refused_by_status(413)), *[node(20, refused_by_status(413))] * 90)
    for _ in range(4):
        assert client.batch(CALLS) == RESULTS
    assert max(sizes(server)[-9:]) <= 20


@pytest.mark.parametrize("status", [200, 400])
def test_one_call_that_has_its_whole_batch_refused_spoils_no_other_and_no_later_batch(
    server: ScriptedServer, client: RpcClient, status: int
) -> None:
    def poisoned(server: ScriptedServer, connection: socket.socket) -> bool:
        asked = server.requests[-1].json
        calls = asked if isinstance(asked, list) else [asked]
        if not any(call["params"] == [3] for call in calls):
            return node(110, refused_by_status(413))(server, connection)
        body = {"id": None, "error": {"code": -32602, "message": f"bad among {len(calls)}"}}
        return answer(status, json.dumps(body))(server, connection)

    server.script(*[poisoned] * 30)
    found = client.batch(CALLS[:9])
    assert isinstance(found.pop(3), RpcError | InvalidRequestError)
    assert found == [0, 1, 2, 4, 5, 6, 7, 8]
    assert client.batch(CALLS[4:9]) == [4, 5, 6, 7, 8]
    assert sizes(server)[-1] == 5


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (refused_as_object(-32000, "closed for maintenance"), RpcError),
        (refused_by_status(404), InvalidRequestError),
    ],
)
def test_a_node_that_refuses_everything_is_soon_left_alone(
    server: ScriptedServer,
    client: RpcClient,
    refusal: BatchRefusal,
    error: type[Exception],
) -> None:
    def refuse(server: ScriptedServer, connection: socket.socket) -> bool:
        status, body = refusal([])
        return answer(status, json.dumps(body))(server, connection)

    server.script(*[refuse] * 200)
    with pytest.raises(error):
        client.batch(CALLS)
    assert len(server.requests) <= 8
    server.requests.clear()
    with pytest.raises(error):
        client.batch(CALLS)
    assert sizes(server)[0] == 110  # that was no matter of the size


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (refused_as_list(-32600, "Must be authenticated!"), AccountError),
        (refused_as_list(429, "compute units per second exceeded"), TransientError),
        (refused_as_object(-32016, "over rate limit"), TransientError),
        (refused_as_object(-32005, "request rate exceeded"), TransientError),
        (refused_as_object(-32000, "rate limit reached", status=503), TransientError),
        (refused_as_object(-32000, "15 requests per second", status=400), TransientError),
        (refused_by_status(403), AccountError),
        (refused_by_status(503), TransientError),
    ],
)
def test_account_rate_and_health_are_no_matter_of_the_size(
    server: ScriptedServer,
    client: RpcClient,
    refusal: BatchRefusal,
    error: type[Exception],
) -> None:
    server.script(node(0, refusal))
    with pytest.raises(error):
        client.batch(CALLS)
    assert len(server.requests) == 1


def test_single_calls_that_are_refused_for_their_rate_are_asked_for_again(
    server: ScriptedServer, client: RpcClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "node_budget", 0.0)
    busy = {"id": 1, "error": {"code": 429, "message": "compute units per second exceeded"}}
    steps: list[Callable[[ScriptedServer, socket.socket], bool]] = [
        node(1, refused_by_status(413))
    ] * 60
    steps[9] = answer(200, json.dumps(busy))
    server.script(*steps)
    assert client.batch(CALLS[:12]) == RESULTS[:12]


def test_a_rate_limit_found_call_by_call_ends_the_asking_and_says_nothing_about_batches(
    server: ScriptedServer, client: RpcClient
) -> None:
    def busy(server: ScriptedServer, connection: socket.socket) -> bool:
        error = {"code": -32005, "message": "limit exceeded"}  # of what? the single calls tell
        return answer(200, json.dumps({"id": None, "error": error}))(server, connection)

    server.script(*[busy] * 7, node(110, refused_by_status(413)))
    found = client.batch(CALLS)
    assert all(isinstance(each, TransientError) and each.rate_limited for each in found)
    assert sizes(server) == [110, 55, 27, 13, 6, 3, 0]
    assert client.batch(CALLS) == RESULTS
    assert sizes(server)[-1] == 110
