"""Where Docker cannot give the tests a database, another one serves."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glisk.tests.containers import engine_answers, postgres_url

_PING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_VERSION = b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"ApiVersion": "1.47"}'
_REFUSALS = {
    "without the image": _VERSION,
    "out of order": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "forbidden": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "too old": b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"ApiVersion": "1.00"}',
    "something else": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "hangs up": b"",
}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Start a Docker engine that answers a ping, and is asked for its version in vain."""
    servers: list[socketserver.BaseServer] = []

    def start(refusal: bytes) -> None:
        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                known = {b"/_ping": _PING, b"/version": refusal}
                answer = next((known[path] for path in known if path in asked), _NOT_FOUND)
                self.wfile.write(answer)

        address = tmp_path / "docker.sock"
        server = socketserver.ThreadingUnixStreamServer(str(address), Answer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("refusal", _REFUSALS.values(), ids=_REFUSALS)
def test_an_engine_of_no_use_is_not_used(
    refusal: bytes, engine: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    engine(refusal)
    assert engine_answers()
    assert postgres_url() is None
    assert "so the embedded PostgreSQL serves" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["tcp://[::1", "tcp://127.0.0.1:port", "unix:///nowhere", "x"])
def test_an_address_of_no_engine_is_no_fault(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    assert postgres_url() is None
