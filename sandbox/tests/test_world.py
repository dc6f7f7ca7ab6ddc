"""The world's parts: services that are kept running, and the environment they get."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glisk.tests.waiting import eventually
from sandbox.ports import Ports
from sandbox.services import MAX_FAILED_STARTS, Service, ServiceError, Watchdog
from sandbox.world import World, WorldOptions

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
Make = Callable[..., Service]


@pytest.fixture
def made() -> Iterator[list[Service]]:
    """The services of the test, which are watched."""
    services: list[Service] = []
    dog = Watchdog(lambda: services)
    dog.start()
    yield services
    dog.stop()
    # The kernel ends a child with the thread that forked it, which must not be the watchdog's.
    time.sleep(0.1)
    for service in services:
        assert service.is_running == (service.wanted and not service.gave_up)
        service.stop()


@pytest.fixture
def make(tmp_path: Path, made: list[Service]) -> Make:
    def start(code: str = SLEEPER) -> Service:
        name = f"service-{len(made)}"
        command, log = [sys.executable, "-c", code], tmp_path / f"{name}.log"
        service = Service(name, command, env={}, log_file=log, cwd=tmp_path)
        service.start()
        made.append(service)
        return service

    return start


def test_a_killed_service_comes_back_and_a_stopped_one_stays_down(make: Make) -> None:
    stopped, killed = make(), make()
    pid = killed.pid
    eventually(lambda: "up" in stopped.log_tail())
    assert stopped.stop() == -signal.SIGTERM
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: killed.pid != pid and killed.is_running)
    assert (stopped.restarts, killed.restarts) == (0, 1)


def test_a_service_that_heeds_no_signal_is_killed(make: Make) -> None:
    service = make("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER)
    eventually(lambda: "up" in service.log_tail())
    assert service.stop(0.3) == -signal.SIGKILL


def test_a_service_that_cannot_start_is_told_and_not_tried_for_ever(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.services.PAUSE_SECONDS", 0.01)
    service = make("raise SystemExit('port 1 is taken')")
    eventually(lambda: service.gave_up)
    time.sleep(0.3)
    assert service.restarts == MAX_FAILED_STARTS - 1
    service._is_ready = lambda: True  # another one answers
    with pytest.raises(ServiceError, match="port 1 is taken"):
        service.wait_ready()


def test_the_program_gets_nothing_of_the_developers_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere/else")
    monkeypatch.setenv("KEEPER_PRIVATE_KEY", "0x" + "11" * 32)
    monkeypatch.setenv("MY_OWN_SECRET", "x")
    ports = Ports.free()
    options = WorldOptions(env={"WORKER_BATCH_SIZE": "3"})
    env = World(tmp_path, ports=ports, options=options).env
    assert env["DATABASE_URL"] == ""
    assert "11" * 32 not in env["KEEPER_PRIVATE_KEY"]
    assert "MY_OWN_SECRET" not in env
    assert env["GLISK_ENV_FILE"] == ""  # no .env is read
    assert env["RPC_URL"] == f"http://127.0.0.1:{ports.node}"
    assert env["WORKER_BATCH_SIZE"] == "3"
