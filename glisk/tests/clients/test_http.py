"""What the base client makes of every kind of answer, over real sockets."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from glisk.clients.http import HttpClient, HttpOptions
from glisk.clients.http_faults import retry_after_seconds
from glisk.clock import boot_seconds
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    NotSentError,
    PermanentError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    answer,
    drip,
    hang_up,
    raw,
    reset,
    silence,
)


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> Iterator[HttpClient]:
    made = HttpClient(vendor="acme", base_url=server.url, options=options)
    yield made
    made.close()


def failure(client: HttpClient, *, idempotent: bool = True, max_bytes: int = 1000) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.call("POST", "/thing", idempotent=idempotent, json_body={}, max_bytes=max_bytes)
    return caught.value


class TestASoundReply:
    def test_is_returned_with_status_headers_and_body(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(answer(201, {"id": "x"}, X_Thing="7"))
        reply = client.call("POST", "/a/b", idempotent=False, json_body={"k": "ü"})
        assert (reply.status, reply.json_object(), reply.headers["x-thing"]) == (
            201,
            {"id": "x"},
            "7",
        )
        assert server.requests[0].json == {"k": "ü"}
        assert server.requests[0].headers["content-type"] == "application/json"

    def test_comes_over_one_connection_for_many_calls(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(*[answer(200, {"n": n}) for n in range(5)])
        for _ in range(5):
            client.call("GET", "/", idempotent=True)
        assert server.accepted == 1

    def test_keeps_the_connection_after_an_error_reply(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(answer(500, {"detail": "no"}), answer(200))
        failure(client)
        client.call("GET", "/", idempotent=True)
        assert server.accepted == 1

    def test_sets_no_cookie_for_the_next_call(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(answer(200, b"", Set_Cookie="session=1"), answer(200))
        client.call("GET", "/", idempotent=True)
        client.call("GET", "/", idempotent=True)
        assert "cookie" not in server.requests[1].headers

    def test_of_a_gzipped_body_is_unpacked(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        import gzip

        server.script(answer(200, gzip.compress(b'{"a":1}'), Content_Encoding="gzip"))
        assert client.call("GET", "/", idempotent=True).json_object() == {"a": 1}

    def test_reaches_eight_threads_at_once(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(*[answer(200, {"n": n}) for n in range(40)])
        seen: list[int] = []

        def work() -> None:
            for _ in range(5):
                reply = client.call("GET", "/", idempotent=True).json_object()
                seen.append((reply or {})["n"])

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == list(range(40))


class TestTheStatus:
    @pytest.mark.parametrize("status", [401, 402, 403])
    def test_of_a_refused_account_pauses(
        self, server: ScriptedServer, client: HttpClient, status: int
    ) -> None:
        server.script(answer(status, "no credit left"))
        error = failure(client)
        assert type(error) is AccountError
        assert (error.status, error.error_class) == (status, "account")
        assert "no credit left" in str(error)

    @pytest.mark.parametrize("status", [400, 404, 409, 413, 418, 422])
    def test_of_a_refused_request_is_permanent(
        self, server: ScriptedServer, client: HttpClient, status: int
    ) -> None:
        server.script(answer(status))
        error = failure(client)
        assert type(error) is InvalidRequestError
        assert error.reason == ("not_found" if status == 404 else "validation")

    @pytest.mark.parametrize("status", [408, 425, 500, 501, 503, 521, 599])
    @pytest.mark.parametrize("idempotent", [True, False])
    def test_of_a_fault_of_the_vendor_is_transient(
        self, server: ScriptedServer, client: HttpClient, status: int, idempotent: bool
    ) -> None:
        server.script(answer(status))
        error = failure(client, idempotent=idempotent)
        assert type(error) is TransientError
        assert error.error_class == "transient"

    @pytest.mark.parametrize("status", [502, 504, 520, 524])
    def test_of_a_lost_upstream_leaves_the_outcome_unknown_unless_repeatable(
        self, server: ScriptedServer, client: HttpClient, status: int
    ) -> None:
        server.script(answer(status), answer(status))
        assert type(failure(client, idempotent=False)) is UnknownOutcomeError
        assert type(failure(client, idempotent=True)) is TransientError

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_of_a_redirect_is_refused_and_not_followed(
        self, server: ScriptedServer, client: HttpClient, status: int
    ) -> None:
        server.script(answer(status, b"", Location="/elsewhere"))
        error = failure(client)
        assert type(error) is PermanentError and error.reason == "redirect"
        assert len(server.requests) == 1

    def test_is_never_retried_inside(self, server: ScriptedServer, client: HttpClient) -> None:
        server.script(answer(503, b"", Retry_After="0"), answer(200))
        failure(client)
        assert len(server.requests) == 1


class TestARateLimit:
    def test_in_seconds(self, server: ScriptedServer, client: HttpClient) -> None:
        server.script(answer(429, b"", Retry_After="17"))
        error = failure(client, idempotent=False)
        assert type(error) is TransientError
        assert error.rate_limited and error.retry_after_seconds == 17
        assert error.error_class == "rate_limited"

    def test_as_a_date_is_measured_by_the_vendors_own_clock(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        yesterday = time.time() - 86_400
        server.script(
            answer(
                429,
                Date=formatdate(yesterday, usegmt=True),
                Retry_After=formatdate(yesterday + 30, usegmt=True),
            )
        )
        error = failure(client)
        assert isinstance(error, TransientError) and error.retry_after_seconds == 30

    def test_of_a_503_is_kept_too(self, server: ScriptedServer, client: HttpClient) -> None:
        server.script(answer(503, b"", Retry_After="3"))
        error = failure(client)
        assert isinstance(error, TransientError)
        assert error.retry_after_seconds == 3 and not error.rate_limited

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            ("-5", 0),
            ("1.5", 1.5),
            ("1e12", 86_400),
            ("nan", None),
            ("inf", None),
            ("soon", None),
            ("", None),
            ("Fri, 01 Jan 2027 00:00:10 GMT", 10),
            ("Fri, 01 Jan 2016 00:00:10 GMT", 0),
        ],
    )
    def test_header_is_read_with_care(self, value: str, seconds: float | None) -> None:
        now = 1798761600.0  # Fri, 01 Jan 2027 00:00:00 GMT
        assert retry_after_seconds({"Retry-After": value}, now=now) == seconds

    def test_without_header_has_no_wait(self) -> None:
        assert retry_after_seconds({}) is None


class TestALostReply:
    @pytest.mark.impatient
    @pytest.mark.parametrize("step", [reset, hang_up, silence])
    def test_of_a_paid_call_leaves_the_outcome_unknown(
        self, server: ScriptedServer, client: HttpClient, step: object
    ) -> None:
        server.script(step())  # type: ignore[operator]
        error = failure(client, idempotent=False)
        assert type(error) is UnknownOutcomeError
        assert error.error_class == "unknown_outcome"
        assert len(server.seen(1)) == 1

    @pytest.mark.impatient
    @pytest.mark.parametrize("step", [reset, hang_up, silence])
    def test_of_a_repeatable_call_is_transient(
        self, server: ScriptedServer, client: HttpClient, step: object
    ) -> None:
        server.script(step())  # type: ignore[operator]
        assert type(failure(client, idempotent=True)) is TransientError

    @pytest.mark.parametrize(
        "data",
        [
            b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"id":',
            b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"id":',
            b"not http at all\r\n\r\n",
        ],
    )
    def test_that_breaks_off_in_the_middle_counts_as_lost(
        self, server: ScriptedServer, client: HttpClient, data: bytes
    ) -> None:
        server.script(raw(data), raw(data))
        assert type(failure(client, idempotent=False)) is UnknownOutcomeError
        assert type(failure(client, idempotent=True)) is TransientError

    @pytest.mark.impatient
    def test_that_drips_runs_into_the_time_limit(
        self, server: ScriptedServer, client: HttpClient
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

    def test_with_a_broken_error_body_still_tells_its_status(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(raw(b"HTTP/1.1 402 Payment\r\nContent-Length: 500\r\n\r\ncut"))
        assert type(failure(client, idempotent=False)) is AccountError

    def test_does_not_poison_the_next_call(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(hang_up(), answer(200, {"fine": True}))
        failure(client)
        assert client.call("GET", "/", idempotent=True).json_object() == {"fine": True}


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

    def test_that_is_not_there_surely_passed_nothing_on(
        self, options: HttpOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        client = HttpClient(vendor="acme", base_url="http://vendor.invalid", options=options)
        assert type(failure(client, idempotent=False)) is TransientError


class TestAVendorThatIsNotThere:
    def test_surely_did_not_accept_a_paid_call(self, options: HttpOptions) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        client = HttpClient(vendor="acme", base_url=f"http://127.0.0.1:{port}", options=options)
        error = failure(client, idempotent=False)
        assert type(error) is TransientError
        assert "refused" in str(error)

    @pytest.mark.usefixtures("no_dns")
    def test_by_an_unknown_name_is_transient(self, options: HttpOptions) -> None:
        client = HttpClient(vendor="acme", base_url="http://no-such.invalid", options=options)
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

    def test_speaking_plain_text_on_a_tls_port_is_not_taken_for_success(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        server.script(raw(b"HTTP/1.1 200 OK\r\n\r\n"))
        url = server.url.replace("http://", "https://")
        client = HttpClient(vendor="acme", base_url=url, options=options)
        assert isinstance(failure(client, idempotent=True), TransientError)


class TestACallThatComesTooLate:
    def test_is_surely_not_made(self, server: ScriptedServer, client: HttpClient) -> None:
        with pytest.raises(NotSentError):
            client.call("POST", "/", idempotent=False, json_body={}, send_by=boot_seconds() - 0.01)
        assert not any(seen.body for seen in server.requests)  # the headers at most

    def test_is_made_if_it_comes_in_time(self, server: ScriptedServer, client: HttpClient) -> None:
        server.script(answer(201, {"id": "x"}))
        soon = boot_seconds() + 60
        body = {"a": "ü"}
        reply = client.call("POST", "/", idempotent=False, json_body=body, send_by=soon)
        assert reply.status == 201
        assert server.requests[0].json == body

    def test_is_noticed_after_a_slow_connection(
        self, server: ScriptedServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect = socket.socket.connect

        def slowly(self: socket.socket, address: object) -> None:
            time.sleep(0.2)
            connect(self, address)  # type: ignore[arg-type]

        monkeypatch.setattr(socket.socket, "connect", slowly)
        soon = boot_seconds() + 0.1
        with pytest.raises(NotSentError):
            client.call("POST", "/", idempotent=False, json_body={}, send_by=soon)
        assert not any(seen.body for seen in server.requests)


class TestSizes:
    def test_over_the_limit_are_refused(self, server: ScriptedServer, client: HttpClient) -> None:
        server.script(answer(200, b"x" * 1001), answer(200, b"x" * 1000))
        error = failure(client, max_bytes=1000)
        assert type(error) is ArtefactError and error.code == "too_large"
        assert len(client.call("GET", "/", idempotent=True, max_bytes=1000).body) == 1000

    def test_over_the_limit_leave_a_paid_call_unknown(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(answer(200, b"x" * 1001))
        assert type(failure(client, idempotent=False, max_bytes=1000)) is UnknownOutcomeError

    def test_of_error_bodies_are_bounded_in_the_message(
        self, server: ScriptedServer, client: HttpClient
    ) -> None:
        server.script(answer(500, b"<html>" + b"x" * 500_000))
        error = failure(client)
        assert type(error) is TransientError and len(str(error)) <= 1000


class TestSecrets:
    def test_never_show_in_errors(self, server: ScriptedServer, options: HttpOptions) -> None:
        secret = "Bearer r8_abcdefghijklmnop0123456789"
        client = HttpClient(
            vendor="acme",
            base_url=server.url,
            headers={"Authorization": secret},
            options=options,
        )
        server.script(answer(401, {"you sent": secret}))
        error = failure(client)
        for shown in (str(error), repr(error), repr(client), repr(error.__cause__)):
            assert "abcdefghijklmnop" not in shown

    def test_of_netrc_do_not_replace_ours(
        self,
        server: ScriptedServer,
        options: HttpOptions,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        netrc = tmp_path / "netrc"
        with netrc.open("w", encoding="ascii") as file:
            file.write("machine 127.0.0.1 login someone password else\n")
        monkeypatch.setenv("NETRC", str(netrc))
        server.script(answer(200))
        client = HttpClient(
            vendor="acme",
            base_url=server.url,
            headers={"Authorization": "Bearer ours"},
            options=options,
        )
        client.call("GET", "/", idempotent=True)
        assert server.requests[0].headers["authorization"] == "Bearer ours"

    def test_of_an_unusable_shape_are_reported_without_their_value(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        client = HttpClient(
            vendor="acme",
            base_url=server.url,
            headers={"Authorization": "Bearer topsecretvalue\nX: y"},
            options=options,
        )
        error = failure(client)
        assert type(error) is AccountError and error.code == "unusable_setting"
        assert "topsecretvalue" not in str(error)


@pytest.mark.parametrize("url", ["", "api.example.com", "ftp://host", "http://", "https:///x"])
def test_a_base_url_without_scheme_or_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base URL of acme"):
        HttpClient(vendor="acme", base_url=url)


def test_a_forked_child_opens_its_own_connection(
    server: ScriptedServer, client: HttpClient
) -> None:
    server.script(*[answer(200) for _ in range(3)])
    client.call("GET", "/", idempotent=True)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: client.call("GET", "/", idempotent=True)
    )
    child.start()
    child.join(60)
    client.call("GET", "/", idempotent=True)
    assert child.exitcode == 0
    assert [seen.connection for seen in server.requests] == [1, 2, 1]


def test_a_small_call_costs_little_cpu(server: ScriptedServer) -> None:
    """The server runs in this process too, so this is an upper bound."""
    client = HttpClient(vendor="acme", base_url=server.url)
    calls = 200
    server.script(*[answer(201, {"id": "x" * 26, "status": "starting"})] * (calls + 20))
    for _ in range(20):
        client.call("POST", "/", idempotent=False, json_body={"prompt": "x"})
    began = time.process_time()
    for _ in range(calls):
        client.call("POST", "/", idempotent=False, json_body={"prompt": "x"})
    assert (time.process_time() - began) / calls < 0.0015
