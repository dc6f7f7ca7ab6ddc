"""Where Docker cannot give the tests a database, another one serves."""

import gc
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from glisk.tests.containers import postgres_url

_REFUSALS = {
    "out of order": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "something else": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "hangs up": b"",
}

# Docker's client leaves its sockets open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _sockets_are_collected_here() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.parametrize("refusal", _REFUSALS.values(), ids=_REFUSALS)
def test_an_engine_of_no_use_is_not_used(
    refusal: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(refusal)

    address = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
    with socketserver.ThreadingUnixStreamServer(str(address), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert postgres_url() is None
        server.shutdown()
    assert "so the embedded PostgreSQL serves" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["tcp://[::1", "tcp://127.0.0.1:port", "unix:///nowhere", "x"])
def test_an_address_of_no_engine_is_no_fault(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    assert postgres_url() is None
