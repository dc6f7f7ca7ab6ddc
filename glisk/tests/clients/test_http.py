"""What the base client tells nobody, refuses, and costs."""

from __future__ import annotations

import multiprocessing
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests

from glisk.clients.http import BoundedSession, HttpClient, HttpOptions
from glisk.errors import AccountError, TransientError
from glisk.tests.clients.scripted_server import ScriptedServer, answer, failure


def with_key(server: ScriptedServer, options: HttpOptions, key: str) -> HttpClient:
    headers = {"Authorization": key}
    return HttpClient(vendor="acme", base_url=server.url, headers=headers, options=options)


def test_secrets_never_show_in_errors(server: ScriptedServer, options: HttpOptions) -> None:
    secret = "Bearer r8_abcdefghijklmnop0123456789"
    server.script(answer(401, {"you sent": secret}))
    error = failure(with_key(server, options, secret))
    for shown in (str(error), repr(error), repr(error.__cause__)):
        assert "abcdefghijklmnop" not in shown
    # One of an unusable shape is reported without its value.
    error = failure(with_key(server, options, "Bearer topsecretvalue\nX: y"))
    assert type(error) is AccountError and error.code == "unusable_setting"
    assert "topsecretvalue" not in str(error)


def test_netrc_does_not_replace_our_key(
    server: ScriptedServer, options: HttpOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    server.script(answer(200))
    with_key(server, options, "Bearer ours").call("GET", "/", idempotent=True)
    assert server.requests[0].headers["authorization"] == "Bearer ours"


@pytest.mark.process
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


class TestASessionInTheHandsOfALibrary:
    def test_keeps_its_limits_whatever_the_library_asks_for(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        session = BoundedSession(server.url, options, max_bytes=100)
        server.script(
            answer(302, b"", Location="/elsewhere"), answer(200, b"x" * 101), answer(200, b"fine")
        )
        asked: dict[str, Any] = {"timeout": None, "allow_redirects": True, "verify": False}
        with pytest.raises(requests.HTTPError):
            session.get(server.url, **asked)
        with pytest.raises(requests.RequestException, match="100 bytes"):
            session.get(server.url, **asked)
        assert session.get(server.url, **asked).content == b"fine"
        session.close()

    def test_speaks_the_scheme_of_its_vendor_only(self, options: HttpOptions) -> None:
        session = BoundedSession("https://vendor.invalid", options)
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get("http://vendor.invalid")


def test_certificates_are_loaded_once_for_all_connections(
    server: ScriptedServer, options: HttpOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url.replace("http://", "https://")
    client = HttpClient(vendor="acme", base_url=url, options=options)

    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("certificates are loaded again")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", never)
    server.script(answer(200), answer(200))
    for _ in range(2):  # no TLS server: but the handshake is tried
        assert type(failure(client)) is TransientError
