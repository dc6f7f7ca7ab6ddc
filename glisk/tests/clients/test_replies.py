"""What the base client makes of every kind of answer, over real sockets."""

from __future__ import annotations

import gzip
import socket
from concurrent.futures import ThreadPoolExecutor

from glisk.clients.http import HttpClient, retry_after_seconds
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.scripted_server import ScriptedServer, answer, failure


def test_a_sound_reply_is_returned_with_status_headers_and_body(
    server: ScriptedServer, client: HttpClient
) -> None:
    server.script(answer(201, {"id": "x"}, X_Thing="7"))
    reply = client.call("POST", "/a/b", idempotent=False, json_body={"k": "ü"})
    assert (reply.status, reply.headers["x-thing"]) == (201, "7")
    assert reply.json_object() == {"id": "x"}
    assert server.requests[0].json == {"k": "ü"}
    assert server.requests[0].headers["content-type"] == "application/json"
    server.script(answer(200, gzip.compress(b'{"a":1}'), Content_Encoding="gzip"))
    assert client.call("GET", "/", idempotent=True).json_object() == {"a": 1}


def test_one_connection_serves_whatever_came_before_and_no_cookie_is_kept(
    server: ScriptedServer, client: HttpClient
) -> None:
    server.script(answer(200, b"", Set_Cookie="session=1"), answer(500, {"detail": "no"}))
    server.script(*[answer(200)] * 5)
    client.call("GET", "/", idempotent=True)
    failure(client)
    for _ in range(5):
        client.call("GET", "/", idempotent=True)
    assert server.accepted == 1
    assert not any("cookie" in seen.headers for seen in server.requests)


def test_eight_threads_call_at_once(server: ScriptedServer, client: HttpClient) -> None:
    server.script(*[answer(200, {"n": n}) for n in range(40)])
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.call, "GET", "/", idempotent=True) for _ in range(40)]
    assert sorted(call.result().json_object()["n"] for call in calls) == list(range(40))


def test_the_status_decides_what_an_error_means(server: ScriptedServer, client: HttpClient) -> None:
    kinds: list[tuple[list[int], type[ProviderError], type[ProviderError]]] = [
        ([401, 402, 403], AccountError, AccountError),
        ([400, 404, 409, 413, 418, 422], InvalidRequestError, InvalidRequestError),
        ([301, 302, 307, 308], PermanentError, PermanentError),
        ([408, 425, 429, 521, 523], TransientError, TransientError),
        # These may follow accepted work.
        ([500, 501, 502, 503, 504, 520, 522, 524, 530, 599], TransientError, UnknownOutcomeError),
    ]
    for statuses, repeatable, paid in kinds:
        server.requests.clear()
        for status in statuses:
            reply = answer(status, "what it said", Location="/elsewhere")
            server.script(reply, reply)
            for idempotent, kind in ((True, repeatable), (False, paid)):
                error = failure(client, idempotent=idempotent)
                assert (type(error), error.status) == (kind, status)
                assert "what it said" in str(error)
        assert len(server.requests) == 2 * len(statuses)  # none is followed or tried again


def test_a_redirect_is_told_without_reading_its_endless_body(
    server: ScriptedServer, client: HttpClient
) -> None:
    sent = []

    def step(running: ScriptedServer, connection: socket.socket) -> bool:
        head = b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        while not running.over.is_set():
            connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent.append(65_536)
        return False

    server.script(step)
    assert type(failure(client)) is PermanentError
    assert sum(sent) < 20_000_000


def test_a_rate_limit_carries_the_vendors_wait(server: ScriptedServer, client: HttpClient) -> None:
    server.script(answer(429, b"", Retry_After="17"), answer(503, b"", Retry_After="3"))
    error = failure(client, idempotent=False)
    assert type(error) is TransientError
    assert error.rate_limited and error.retry_after_seconds == 17
    assert error.error_class == "rate_limited"
    busy = failure(client)
    assert busy.retry_after_seconds == 3 and not busy.rate_limited


def test_a_wait_is_read_with_care_and_a_date_by_the_vendors_own_clock() -> None:
    sent = {"Date": "Fri, 01 Jan 2027 00:00:00 GMT"}
    for value, seconds in {
        "0": 0,
        "-5": 0,
        "1.5": 1.5,
        "1e12": 86_400,
        "nan": None,
        "inf": None,
        "soon": None,
        "": None,
        "Fri, 01 Jan 2027 00:00:10 GMT": 10,
        "Fri, 01 Jan 2016 00:00:10 GMT": 0,
    }.items():
        assert retry_after_seconds(sent | {"Retry-After": value}) == seconds
    assert retry_after_seconds({}) is None


def test_a_reply_over_the_limit_is_refused(server: ScriptedServer, client: HttpClient) -> None:
    server.script(*[answer(200, b"x" * size) for size in (1001, 1001, 1000)])
    assert type(failure(client, idempotent=False, max_bytes=1000)) is UnknownOutcomeError
    error = failure(client, max_bytes=1000)
    assert type(error) is ArtefactError and error.code == "too_large"
    assert len(client.call("GET", "/", idempotent=True, max_bytes=1000).body) == 1000
    # An error's body is cut instead.
    server.script(answer(500, b"<html>" + b"x" * 500_000))
    error = failure(client)
    assert type(error) is TransientError and len(str(error)) <= 1000
