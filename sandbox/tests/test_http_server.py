"""The server base: HTTP/1.1 as clients speak it."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.http import Emulator, Request, Response, json_response
from sandbox.http.emulator import Handler


class EchoEmulator(Emulator):
    name = "echo"
    waiting = 0

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("POST", "/echo", self._echo),
            ("GET", "/echo", self._echo),
            ("HEAD", "/echo", self._echo),
            ("GET", "/slow", self._slow),
            ("GET", "/together", self._together),
            ("GET", "/trickle", lambda request: Response(200, b"x" * 400, bytes_per_second=4000)),
            ("GET", "/cut", lambda request: Response(200, b"x" * 1000, cut_after=300)),
            ("GET", "/broken", self._broken),
            ("GET", r"/items/(\w+)", lambda request, item: json_response({"item": item})),
        ]

    def _echo(self, request: Request) -> Response:
        return Response(200, request.body or b"empty", {"X-Query": json.dumps(request.query)})

    async def _slow(self, request: Request) -> Response:
        await asyncio.sleep(0.5)
        return Response(200, b"done")

    async def _together(self, request: Request) -> Response:
        """Answer when a hundred have come, and none before."""
        self.waiting += 1
        while self.waiting < 100:
            await asyncio.sleep(0.01)
        return Response(200, b"done")

    def _broken(self, request: Request) -> Response:
        raise RuntimeError("a bug in a handler")


@pytest.fixture
def echo() -> Iterator[EchoEmulator]:
    with EchoEmulator() as emulator:
        yield emulator


def raw_exchange(emulator: Emulator, sent: bytes, *, until_closed: bool = True) -> bytes:
    with socket.create_connection((emulator.host, emulator.port), timeout=60) as connection:
        connection.sendall(sent)
        received = b""
        while True:
            piece = connection.recv(65536)
            received += piece
            if not piece or not until_closed:
                return received


def test_one_connection_serves_many_requests(echo: EchoEmulator) -> None:
    with requests.Session() as session:
        for number in range(5):
            assert session.post(f"{echo.url}/echo", data=f"{number}").text == str(number)
        adapter: Any = session.adapters["http://"]
        pools = adapter.poolmanager.pools
        # No mapping: it can be asked for its keys, but not be gone through.
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118


def test_requests_sent_at_once_are_answered_in_order(echo: EchoEmulator) -> None:
    first = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    second = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    received = raw_exchange(echo, first + second)
    assert received.index(b"done") < received.index(b"empty")


def test_chunked_bodies_are_joined(echo: EchoEmulator) -> None:
    with requests.Session() as session:
        response = session.post(f"{echo.url}/echo", data=iter([b"one ", b"two ", b"three"]))
    assert response.content == b"one two three"


def test_chunk_extensions_and_trailers_are_skipped(echo: EchoEmulator) -> None:
    received = raw_exchange(
        echo,
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3;note=x\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n",
    )
    assert received.endswith(b"\r\n\r\nabc")


def test_a_client_that_expects_continue_gets_it_before_its_body(echo: EchoEmulator) -> None:
    with socket.create_connection((echo.host, echo.port), timeout=60) as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"body")
        assert connection.recv(1000).endswith(b"\r\n\r\nbody")


def test_head_has_the_length_but_not_the_body(echo: EchoEmulator) -> None:
    received = raw_exchange(echo, b"HEAD /echo HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5\r\n" in received
    assert received.endswith(b"\r\n\r\n")


def test_http_1_0_closes_after_the_reply(echo: EchoEmulator) -> None:
    received = raw_exchange(echo, b"GET /echo HTTP/1.0\r\n\r\n")
    assert b"Connection: close" in received
    assert received.endswith(b"empty")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
def test_malformed_requests_are_refused_and_cut_off(
    echo: EchoEmulator, sent: bytes, status: int
) -> None:
    assert raw_exchange(echo, sent).startswith(f"HTTP/1.1 {status} ".encode())


def test_paths_and_queries_are_decoded(echo: EchoEmulator) -> None:
    assert requests.get(f"{echo.url}/items/a%62c", timeout=60).json() == {"item": "abc"}
    response = requests.get(f"{echo.url}/echo?a=1%202&b=", timeout=60)
    assert json.loads(response.headers["X-Query"]) == {"a": "1 2", "b": ""}


def test_unknown_paths_and_methods_are_told_apart(echo: EchoEmulator) -> None:
    assert requests.get(f"{echo.url}/nowhere", timeout=60).status_code == 404
    response = requests.delete(f"{echo.url}/echo", timeout=60)
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, GET, HEAD"


def test_a_bug_in_a_handler_is_a_500_and_is_logged(
    echo: EchoEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert requests.get(f"{echo.url}/broken", timeout=60).status_code == 500
    assert "a bug in a handler" in caplog.text


def test_a_slow_body_takes_its_time(echo: EchoEmulator) -> None:
    began = time.monotonic()
    response = requests.get(f"{echo.url}/trickle", timeout=60, stream=True)
    assert response.content == b"x" * 400
    assert time.monotonic() - began >= 0.05
    assert echo.calls[-1].size == 400


def test_a_body_that_is_cut_fails_at_the_client(echo: EchoEmulator) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = requests.get(f"{echo.url}/cut", timeout=60).content


def test_a_hundred_connections_wait_at_the_same_time(echo: EchoEmulator) -> None:
    texts: list[str] = []

    def call() -> None:
        texts.append(requests.get(f"{echo.url}/together", timeout=60).text)

    threads = [threading.Thread(target=call) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["done"] * 100


def test_a_taken_port_is_an_os_error(echo: EchoEmulator) -> None:
    with pytest.raises(OSError, match="address already in use"):
        EchoEmulator(port=echo.port).start()


def test_a_stopped_emulator_frees_its_port_at_once() -> None:
    with EchoEmulator() as first:
        requests.get(f"{first.url}/echo", timeout=60)
    with EchoEmulator(port=first.port) as second:
        assert requests.get(f"{second.url}/echo", timeout=60).status_code == 200
