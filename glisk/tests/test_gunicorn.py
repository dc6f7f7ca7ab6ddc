"""The web server as gunicorn.conf.py makes it."""

import http.client
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from glisk.tests.test_public_secrets import own_secrets
from glisk.tests.web_server import WebServer, web

__all__ = ["web"]
pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    log = tmp_path_factory.mktemp("web") / "log"
    server = WebServer(log, WEB_THREADS="4", DB_POOL_SIZE="2")
    yield server
    server.stop()


def test_each_worker_answers_many_requests_at_once(server: WebServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.get("/api/authors/leaderboard")[0], range(200)))
    assert set(answers) == {200}
    assert len(server.workers()) == 2


def test_a_killed_worker_is_replaced(server: WebServer) -> None:
    killed = server.workers()[0]
    killed.kill()
    deadline = time.monotonic() + 60
    while len(alive := [w.pid for w in server.workers() if w.status() != "zombie"]) < 2 or (
        killed.pid in alive
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.get("/health")[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux only")
def test_workers_die_with_their_master_and_free_the_port(server: WebServer) -> None:
    orphans = server.workers()
    server.process.kill()  # nobody after this test needs it
    server.process.wait()
    _, alive = psutil.wait_procs(orphans, timeout=20)  # far less than the grace of 25 s
    assert alive == []


def test_ctrl_c_ends_it_in_seconds_though_streams_are_open(
    web: Callable[..., WebServer],
) -> None:
    server = web()
    server.get("/health", method="HEAD")
    server.get("/no/such/page")
    streams = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(4)]
    for stream in streams:
        stream.request("GET", f"/api/mints/0x{'ab' * 32}/events")
        assert stream.getresponse().status == 200
    for process in (*server.workers(), psutil.Process(server.process.pid)):  # as a terminal does
        process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0  # far less than the grace of 25 s
    for stream in streams:
        stream.close()
    assert "SIGKILL" not in server.log.read_text()
    records = server.records()  # its own lines go through the pipeline: every line is JSON
    assert {record["logger"] for record in records} == {"gunicorn.error"}  # no request is listed
    assert any(record["event"].startswith("Listening at") for record in records)


def test_a_proxys_word_for_https_is_believed(web: Callable[..., WebServer]) -> None:
    given = {"APP_ENV": "production", "ALLOWED_HOSTS": "127.0.0.1", "WEB_WORKERS": "1"}
    production = web(**given | own_secrets() | {"KEEPER_PRIVATE_KEY": ""})  # no key for the web
    assert production.get("/api/authors/leaderboard")[0] == 301
    assert production.get("/api/authors/leaderboard", **{"X-Forwarded-Proto": "https"})[0] == 200
    assert production.get("/health")[0] == 200  # probed inside the network
    assert production.stop() == 0
