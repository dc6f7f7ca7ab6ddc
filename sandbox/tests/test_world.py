"""The world's parts: services that are kept running, ports, and the environment they get."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.ports import NAMES, Ports
from sandbox.services import MAX_FAILED_STARTS, Service, ServiceError, Watchdog
from sandbox.world import World, WorldOptions

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"
MakeService = Callable[..., Service]


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[MakeService]:
    made: list[Service] = []

    def make(code: str = SLEEPER, **options: Any) -> Service:
        log = tmp_path / f"{len(made)}.log"
        command = [sys.executable, "-c", code]
        service = Service(
            f"service-{len(made)}", command, env={}, log_file=log, cwd=tmp_path, **options
        )
        made.append(service)
        return service

    yield make
    for service in made:
        service.stop()


@pytest.fixture
def watch() -> Iterator[Callable[..., None]]:
    dogs: list[Watchdog] = []

    def start(*services: Service) -> None:
        dogs.append(Watchdog(lambda: services))
        dogs[-1].start()

    yield start
    for dog in dogs:
        dog.stop()


def _eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_service_runs_until_it_is_stopped(make_service: MakeService) -> None:
    service = make_service()
    service.start()
    _eventually(lambda: service.is_running and "up" in service.log_tail())
    assert service.stop() == -signal.SIGTERM
    assert not service.is_running


def test_a_service_that_heeds_no_signal_is_killed(make_service: MakeService) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
    service = make_service(code)
    service.start()
    _eventually(lambda: "up" in service.log_tail())
    assert service.stop(0.3) == -signal.SIGKILL


def test_a_service_that_ended_is_not_ready_though_another_answers(
    make_service: MakeService,
) -> None:
    service = make_service("raise SystemExit('port 1 is taken')")
    service._is_ready = lambda: not service.is_running
    service.start()
    with pytest.raises(ServiceError, match="port 1 is taken"):
        service.wait_ready()


def test_a_killed_service_comes_back(make_service: MakeService, watch: Callable[..., None]) -> None:
    service = make_service()
    service.start()
    watch(service)
    pid = service.pid
    os.kill(pid, signal.SIGKILL)
    _eventually(lambda: service.pid != pid and service.is_running)
    assert service.restarts == 1


def test_a_stopped_service_stays_down(
    make_service: MakeService, watch: Callable[..., None]
) -> None:
    service, other = make_service(), make_service()
    service.start()
    other.start()
    watch(service, other)
    service.stop()
    other.kill()
    _eventually(lambda: other.restarts == 1)  # the watchdog has been round
    assert not service.is_running
    assert service.restarts == 0


def test_a_service_that_cannot_start_is_not_tried_for_ever(
    make_service: MakeService, watch: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.services.PAUSE_SECONDS", 0.01)
    service = make_service("raise SystemExit(1)")
    service.start()
    watch(service)
    _eventually(lambda: service.gave_up)
    time.sleep(0.3)
    assert service.restarts == MAX_FAILED_STARTS - 1


def test_a_restarted_service_outlives_the_watchdog(make_service: MakeService) -> None:
    """The kernel ends a child with the thread that forked it, which must not be the watchdog's."""
    service = make_service()
    service.start()
    dog = Watchdog(lambda: [service])
    dog.start()
    service.kill()
    _eventually(lambda: service.restarts == 1 and service.is_running)
    dog.stop()
    time.sleep(0.2)
    assert service.is_running


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it on Linux only")
def test_services_die_with_a_killed_world(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from sandbox.services import Service
service = Service("child", [sys.executable, "-c", {SLEEPER!r}], env={{}},
                  log_file=Path({str(tmp_path / "log")!r}), cwd=Path("."))
service.start()
print(service.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_taken_port_is_replaced_by_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("sandbox.ports.Ports.__init__.__defaults__", (port,) * len(NAMES))
        chosen = Ports.default_or_free()
    assert port not in [getattr(chosen, name) for name in NAMES]


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
