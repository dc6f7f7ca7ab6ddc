"""What the base client makes of calls without an answer, over real sockets."""

from __future__ import annotations

import gc
import socket
import ssl
import time
from typing import Any

import pytest

from glisk.clients.http import HttpClient, HttpOptions
from glisk.clock import boot_seconds
from glisk.errors import AccountError, NotSentError, TransientError, UnknownOutcomeError
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    drip,
    failure,
    hang_up,
    raw,
    reset,
    silence,
)


def nobody_at() -> str:
    """Return the address of a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.impatient
@pytest.mark.parametrize(
    "step",
    [
        reset(),
        hang_up(),
        silence(),
        raw(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"id":'),
        raw(b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"id":'),
        raw(b"not http at all\r\n\r\n"),
    ],
)
def test_a_lost_reply_leaves_a_paid_call_unknown_and_is_transient_to_a_repeatable_one(
    server: ScriptedServer, client: HttpClient, step: Step
) -> None:
    server.script(step, step, answer(200, {"fine": True}))
    error = failure(client, idempotent=False)
    assert type(error) is UnknownOutcomeError
    assert type(failure(client, idempotent=True)) is TransientError
    assert len(server.seen(2)) == 2
    # Nor does it poison the next call.
    assert client.call("GET", "/", idempotent=True).json_object() == {"fine": True}


# urllib3 leaves the connection of such a reply to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_reply_of_unreadable_length_counts_as_lost(
    server: ScriptedServer, client: HttpClient
) -> None:
    reply = raw(b"HTTP/1.1 201 Created\r\nContent-Length: 2, 3\r\n\r\n{}")
    server.script(reply, reply)
    assert type(failure(client, idempotent=False)) is UnknownOutcomeError
    assert type(failure(client, idempotent=True)) is TransientError
    gc.collect()


@pytest.mark.impatient
def test_a_reply_that_drips_runs_into_the_time_limit(
    server: ScriptedServer, client: HttpClient
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"

    def step(running: ScriptedServer, connection: socket.socket) -> bool:
        connection.sendall(head)
        return drip(b"x" * 500, pause_seconds=0.05)(running, connection)

    server.script(step)
    began = time.monotonic()
    error = failure(client)
    assert type(error) is TransientError and error.code == "timeout"
    assert time.monotonic() - began < 20  # all of it would take 25 s


def test_a_broken_error_body_still_tells_its_status(
    server: ScriptedServer, client: HttpClient
) -> None:
    server.script(raw(b"HTTP/1.1 402 Payment\r\nContent-Length: 500\r\n\r\ncut"))
    assert type(failure(client, idempotent=False)) is AccountError


def test_a_connection_that_ended_before_the_body_may_still_hide_an_accepted_call(
    server: ScriptedServer, client: HttpClient
) -> None:
    """Some of it may have arrived: nobody can tell from here."""

    def reset_in_the_next_body(running: ScriptedServer, connection: socket.socket) -> bool:
        answer(200)(running, connection)
        connection.recv(1000)
        return reset()(running, connection)

    server.script(reset_in_the_next_body)
    client.call("GET", "/", idempotent=True)
    body = {"prompt": "x" * 8_000_000}  # more than the sockets hold
    with pytest.raises(UnknownOutcomeError):
        client.call("POST", "/", idempotent=False, json_body=body)


class TestAProxy:
    """Where the environment names one, as in networks that let nothing else out."""

    def test_is_told_the_whole_url_and_its_own_password(
        self, server: ScriptedServer, options: HttpOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://us:pass@"))
        server.script(answer(200, {"fine": True}))
        client = HttpClient(vendor="acme", base_url="http://vendor.invalid/v1", options=options)
        client.call("GET", "/thing", idempotent=True, params={"a": "b c"})
        client.close()
        seen = server.requests[0]
        assert seen.target == "http://vendor.invalid/v1/thing?a=b+c"
        assert seen.headers["proxy-authorization"] == "Basic dXM6cGFzcw=="

    def test_that_breaks_off_may_have_passed_a_paid_call_on(
        self, server: ScriptedServer, options: HttpOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        no_tunnel = raw(b"HTTP/1.1 503 X\r\n\r\n")
        for scheme, proxy, step, kind in (
            ("http", nobody_at(), None, TransientError),
            ("https", server.url, no_tunnel, TransientError),
            ("http", server.url, reset(), UnknownOutcomeError),
            ("http", server.url, hang_up(), UnknownOutcomeError),
        ):
            monkeypatch.setenv(f"{scheme}_proxy", proxy)
            server.script(*filter(None, [step]))
            client = HttpClient(vendor="v", base_url=f"{scheme}://vendor.invalid", options=options)
            assert type(failure(client, idempotent=False)) is kind
            client.close()


class TestAVendorThatIsNotThere:
    @pytest.mark.usefixtures("no_dns")
    def test_surely_did_not_accept_a_paid_call(self, options: HttpOptions) -> None:
        for url in (nobody_at(), "http://no-such.invalid"):
            client = HttpClient(vendor="acme", base_url=url, options=options)
            assert type(failure(client, idempotent=False)) is TransientError

    def test_by_a_full_backlog_runs_into_the_connect_timeout(self) -> None:
        options = HttpOptions(connect_timeout_seconds=0.2, read_timeout_seconds=5)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            try:
                for each in waiting:
                    each.setblocking(False)
                    each.connect_ex(("127.0.0.1", port))
                client = HttpClient(
                    vendor="acme", base_url=f"http://127.0.0.1:{port}", options=options
                )
                error = failure(client, idempotent=False)
            finally:
                for each in waiting:
                    each.close()
        assert type(error) is TransientError and error.code == "timeout"

    def test_behind_a_certificate_that_nobody_vouches_for_surely_got_nothing(
        self, server: ScriptedServer, options: HttpOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_args: object, **_options: object) -> None:
            raise ssl.SSLCertVerificationError("self-signed certificate")

        monkeypatch.setattr(ssl.SSLContext, "wrap_socket", refuse)
        url = server.url.replace("http://", "https://")
        client = HttpClient(vendor="acme", base_url=url, options=options)
        error = failure(client, idempotent=False)
        assert type(error) is TransientError and "self-signed" in str(error)


class TestACallThatComesTooLate:
    def test_is_surely_not_made(self, server: ScriptedServer, client: HttpClient) -> None:
        body = {"a": "ü"}
        server.script(answer(201, {"id": "x"}))
        soon, late = boot_seconds() + 60, boot_seconds() - 0.01
        client.call("POST", "/", idempotent=False, json_body=body, send_by=soon)
        assert server.requests.pop().json == body
        with pytest.raises(NotSentError):
            client.call("POST", "/", idempotent=False, json_body=body, send_by=late)
        assert not any(seen.body for seen in server.requests)  # the headers at most

    def test_is_noticed_after_a_slow_connection(
        self, server: ScriptedServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect = socket.socket.connect

        def slowly(self: socket.socket, address: Any) -> None:
            time.sleep(0.2)
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", slowly)
        soon = boot_seconds() + 0.1
        with pytest.raises(NotSentError):
            client.call("POST", "/", idempotent=False, json_body={}, send_by=soon)
        assert not any(seen.body for seen in server.requests)
