"""JSON-RPC over a socket: every member of a batch has its own fate, every failure its class."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from glisk.clients.chain import RevertError, RpcClient, RpcError
from glisk.clients.http import HttpOptions
from glisk.errors import AccountError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer, hang_up
from glisk.timing import timing

KEY = "alch3myKeyOfTwentyTwoXX"
ALCHEMY_BUSY = (
    "Your app has exceeded its compute units per second capacity. If you have retries enabled, "
    "you can safely ignore this message."
)
CALLS: list[tuple[str, list[Any]]] = [("eth_chainId", []), ("eth_blockNumber", [])]


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> RpcClient:
    return RpcClient(f"{server.url}/v2/{KEY}", options=options)


def reply(body: Any, status: int = 200, **headers: str) -> Step:
    return answer(status, json.dumps(body), **headers)


def member(index: int, result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": index, "result": result}


def fault(code: int, message: str, index: int | None = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": index, "error": {"code": code, "message": message, **more}}


def test_a_call_is_one_request_and_its_raw_result(
    client: RpcClient, server: ScriptedServer
) -> None:
    server.script(reply(member(1, "0x7a69")))
    assert client.call("eth_chainId") == "0x7a69"
    (seen,) = server.requests
    assert (seen.method, seen.target) == ("POST", f"/v2/{KEY}")
    assert seen.json == {"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []}


def test_a_key_in_the_query_and_a_password_go_with_every_call_and_into_no_error(
    server: ScriptedServer, options: HttpOptions
) -> None:
    host = server.url.removeprefix("http://")
    url = f"http://reader:pass%40word99@{host}/base/?apikey=queryKey12345&v=2"
    client = RpcClient(url, options=options)
    server.script(answer(401, "bad key queryKey12345, pass@word99"))
    with pytest.raises(AccountError) as raised:
        client.call("eth_chainId")
    (seen,) = server.requests
    assert seen.target == "/base?apikey=queryKey12345&v=2"
    assert seen.headers["authorization"] == "Basic " + base64.b64encode(
        b"reader:pass@word99"
    ).decode("ascii")
    assert "queryKey12345" not in str(raised.value)
    assert "pass@word99" not in str(raised.value)


# -- batches ------------------------------------------------------------------------------


def test_a_batch_is_one_request_in_any_order(client: RpcClient, server: ScriptedServer) -> None:
    server.script(reply([member(1, "b"), member(0, "a")]))
    assert client.batch(CALLS) == ["a", "b"]
    assert len(server.requests) == 1
    assert [call["method"] for call in server.requests[0].json] == [name for name, _ in CALLS]


def test_a_failing_member_hides_no_other(client: RpcClient, server: ScriptedServer) -> None:
    server.script(reply([fault(-32000, "header not found", 0), member(1, "b")]))
    failed, good = client.batch(CALLS)
    assert isinstance(failed, RpcError)
    assert (failed.rpc_code, failed.said) == (-32000, "header not found")
    assert good == "b"


def test_members_fail_each_in_their_own_class(client: RpcClient, server: ScriptedServer) -> None:
    calls: list[tuple[str, list[Any]]] = [("m", [])] * 4
    server.script(
        reply(
            [
                fault(429, ALCHEMY_BUSY, 0),
                fault(3, "execution reverted", 1, data="0xa3a57894"),
                fault(-32600, "Must be authenticated!", 2),
                fault(-32602, "invalid params", 3),
            ]
        )
    )
    found = client.batch(calls)
    assert [type(error) for error in found] == [TransientError, RevertError, AccountError, RpcError]
    assert found[0].rate_limited
    assert found[1].data == "0xa3a57894"


def test_a_missing_member_is_transient(client: RpcClient, server: ScriptedServer) -> None:
    bodies: list[list[Any]] = [
        [],
        [member(1, "b")],
        [member(0, "a"), "text", None, 7],
        [{"id": 5, "result": "x"}, {"id": [1], "result": "x"}],
    ]
    for body in bodies:
        server.script(reply(body))
        found = client.batch(CALLS)
        missing = [type(item) for item in found if isinstance(item, ProviderError)]
        assert len(found) == 2
        assert set(missing) == {TransientError}


def test_what_a_small_plan_refused_of_a_long_batch_is_asked_for_again(
    client: RpcClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 units a second pay for 19 calls; each later second for some more."""
    monkeypatch.setattr(timing, "node_budget", 0.0)
    busy = [fault(429, ALCHEMY_BUSY, n) for n in range(30)]
    server.script(
        reply([*(member(n, n) for n in range(12)), *busy[12:30]]),
        reply([*busy[:8], *(member(n, 12 + n) for n in range(8, 18))]),
        reply([member(n, 12 + n) for n in range(8)]),
    )
    assert client.batch([("m", [n]) for n in range(30)]) == list(range(30))
    asked = [[call["params"][0] for call in seen.json] for seen in server.requests]
    assert asked == [list(range(30)), list(range(12, 30)), list(range(12, 20))]


@pytest.mark.parametrize(
    "second",
    [reply([fault(429, ALCHEMY_BUSY, n) for n in range(18)]), reply({}, 429), reply({}, 503)],
)
def test_without_progress_it_is_asked_no_more(
    client: RpcClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, second: Step
) -> None:
    monkeypatch.setattr(timing, "node_budget", 0.0)
    busy = [fault(429, ALCHEMY_BUSY, n) for n in range(30)]
    server.script(reply([*(member(n, n) for n in range(12)), *busy[12:]]), second)
    found = client.batch([("m", [n]) for n in range(30)])
    assert found[:12] == list(range(12))
    assert all(item.rate_limited for item in found[12:])
    assert len(server.requests) == 2


def test_a_short_batch_never_waits(client: RpcClient, server: ScriptedServer) -> None:
    """It may be a request of a web page."""
    server.script(reply([member(0, "a"), fault(429, ALCHEMY_BUSY, 1)]))
    assert client.batch(CALLS)[0] == "a"
    assert len(server.requests) == 1


# -- the whole request fails -------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 429])
def test_a_rate_limit_comes_with_either_status(
    client: RpcClient, server: ScriptedServer, status: int
) -> None:
    body = {"jsonrpc": "2.0", "error": {"code": 429, "message": ALCHEMY_BUSY}}
    for call in (lambda: client.call("m"), lambda: client.batch(CALLS)):
        server.script(reply(body, status, Retry_After="3"))
        with pytest.raises(TransientError, match="compute units") as caught:
            call()
        assert caught.value.rate_limited
        assert caught.value.retry_after_seconds == (3.0 if status == 429 else None)


def test_other_nodes_rate_limits(client: RpcClient, server: ScriptedServer) -> None:
    for code, message in ((-32005, "limit exceeded"), (-32000, "Too Many Requests")):
        server.script(reply(fault(code, message)))
        with pytest.raises(TransientError) as caught:
            client.call("eth_sendRawTransaction", "0x")
        assert caught.value.rate_limited


def test_a_refused_account(client: RpcClient, server: ScriptedServer) -> None:
    for status, message in (
        (401, "Must be authenticated!"),
        (403, "Monthly capacity limit exceeded."),
        (403, "App is inactive."),
        (400, "Must be authenticated!"),
        (200, "Must be authenticated!"),
    ):
        server.script(reply(fault(-32600, message, None), status))
        with pytest.raises(AccountError, match=message):
            client.call("eth_blockNumber")


def test_what_is_no_answer_is_transient(client: RpcClient, server: ScriptedServer) -> None:
    for step in (
        answer(200, "<!DOCTYPE html><html>Just a moment...</html>"),
        answer(200, ""),
        answer(200, "[" * 100_000),
        reply(None),
        reply(7),
        reply({"jsonrpc": "2.0", "id": None}),
        hang_up(),
    ):
        server.script(step)
        with pytest.raises(TransientError):
            client.batch(CALLS)


def test_errors_of_an_odd_form_are_errors_of_ours(
    client: RpcClient, server: ScriptedServer
) -> None:
    for error in ("text", ["x"], {"code": "7", "message": None}):
        server.script(reply({"error": error}), reply({"error": error}))
        with pytest.raises(ProviderError):
            client.batch(CALLS)
        with pytest.raises(ProviderError):
            client.call("m")


# -- reverts ----------------------------------------------------------------------------


def test_a_revert_carries_the_contracts_answer(client: RpcClient, server: ScriptedServer) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"code": 3, "message": "execution reverted", "data": "0xa3a57894"}, "0xa3a57894"),
        ({"code": 3, "message": "execution reverted: custom error 0xa3", "data": "0x"}, "0x"),
        ({"code": -32000, "message": "execution reverted"}, ""),
        ({"code": -32015, "message": "VM: Execution reverted", "data": {"x": 1}}, ""),
    ]
    for error, data in cases:
        server.script(reply({"jsonrpc": "2.0", "id": 1, "error": error}))
        with pytest.raises(RevertError) as caught:
            client.call("eth_call", {})
        assert caught.value.data == data


# -- secrets ----------------------------------------------------------------------------


def test_the_key_in_the_url_is_in_no_error(
    client: RpcClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for step in (
        hang_up(),
        answer(200, "no JSON"),
        answer(500, f"upstream https://base-mainnet.g.alchemy.com/v2/{KEY} failed"),
        reply(fault(-32000, f"bad key {KEY}")),
        answer(302, "", Location=f"https://elsewhere.example/v2/{KEY}"),
    ):
        server.script(step)
        with pytest.raises(ProviderError) as caught:
            client.call("eth_chainId")
        chain: BaseException | None = caught.value
        while chain is not None:
            assert KEY not in str(chain) + repr(chain)
            chain = chain.__cause__
    assert KEY not in repr(client) + caplog.text
