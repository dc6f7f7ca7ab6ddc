"""The web server as gunicorn.conf.py makes it."""

import gc
import http.client
import runpy
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from glisk.tests.test_public_secrets import own_secrets
from glisk.tests.web_server import ROOT, WebServer, web

__all__ = ["web"]


def test_its_own_lines_go_through_the_pipeline_and_requests_are_not_listed(
    web: Callable[..., WebServer],
) -> None:
    server = web()
    server.get("/health", method="HEAD")
    server.get("/no/such/page")
    assert server.stop() == 0
    records = server.records()  # every line is JSON
    assert {record["logger"] for record in records} == {"gunicorn.error"}
    assert any(record["event"].startswith("Listening at") for record in records)


def test_each_worker_answers_many_requests_at_once(web: Callable[..., WebServer]) -> None:
    server = web(WEB_THREADS="4", DB_POOL_SIZE="2")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.get("/api/authors/leaderboard")[0], range(200)))
    assert set(answers) == {200}
    assert len(server.workers()) == 2


def test_the_leaders_are_counted_before_anybody_asks(web: Callable[..., WebServer]) -> None:
    server = web(WEB_WORKERS="1", LOG_LEVEL="DEBUG")
    deadline = time.monotonic() + 60
    while "leaders_counted_ahead" not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def test_the_collector_does_not_visit_what_is_loaded_before_the_fork() -> None:
    when_ready = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["when_ready"]
    gc.unfreeze()  # what the tests' own start has frozen
    try:
        when_ready(None)
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 1_000  # what a collection visits from now on
    finally:
        gc.unfreeze()


def test_a_killed_worker_is_replaced(web: Callable[..., WebServer]) -> None:
    server = web()
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
def test_workers_die_with_their_master_and_free_the_port(web: Callable[..., WebServer]) -> None:
    server = web()
    orphans = server.workers()
    server.process.kill()
    server.process.wait()
    _, alive = psutil.wait_procs(orphans, timeout=20)  # far less than the grace of 25 s
    assert alive == []


def test_ctrl_c_ends_it_in_seconds_though_streams_are_open(
    web: Callable[..., WebServer],
) -> None:
    server = web()
    streams = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(4)]
    for stream in streams:
        stream.request("GET", f"/api/mints/0x{'ab' * 32}/events")
        assert stream.getresponse().status == 200
    for process in (*server.workers(), psutil.Process(server.process.pid)):  # as a terminal does
        process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0  # far less than the grace of 25 s
    assert "SIGKILL" not in server.log.read_text()
    for stream in streams:
        stream.close()


def test_connections_are_kept_alive(web: Callable[..., WebServer]) -> None:
    server = web()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(3):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        assert not answer.will_close
        time.sleep(1.1)  # over a turn of the worker's loop
    connection.close()


def test_a_proxys_word_for_https_is_believed_in_production_only(
    web: Callable[..., WebServer],
) -> None:
    production = web(APP_ENV="production", ALLOWED_HOSTS="127.0.0.1", **own_secrets())
    assert production.get("/api/authors/leaderboard")[0] == 301
    assert production.get("/api/authors/leaderboard", **{"X-Forwarded-Proto": "https"})[0] == 200
    assert production.get("/health")[0] == 200  # probed inside the network


def test_idle_it_uses_next_to_nothing(web: Callable[..., WebServer]) -> None:
    server = web()
    for _ in range(20):
        server.get("/health")
    processes = [psutil.Process(server.process.pid), *server.workers()]

    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    time.sleep(2)
    before, begin = used(), time.monotonic()
    time.sleep(10)
    percent = 100 * (used() - before) / (time.monotonic() - begin)
    assert percent < 0.5  # 0.03 % measured over a minute; the clock's ticks are 10 ms long
