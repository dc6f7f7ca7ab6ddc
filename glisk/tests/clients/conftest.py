from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from glisk.clients.http import HttpClient, HttpOptions
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def second_server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def options(request: pytest.FixtureRequest) -> HttpOptions:
    """Timeouts that no busy machine reaches, but short ones where a test is about silence."""
    is_impatient = request.node.get_closest_marker("impatient") is not None
    return HttpOptions(
        connect_timeout_seconds=30, read_timeout_seconds=0.4 if is_impatient else 30, pool_size=4
    )


@pytest.fixture
def no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no name resolve, as a resolver says of one that does not exist."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> Iterator[HttpClient]:
    made = HttpClient(vendor="acme", base_url=server.url, options=options)
    yield made
    made.close()
