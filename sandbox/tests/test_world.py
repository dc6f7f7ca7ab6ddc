"""The world's services are kept running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glisk.tests.waiting import eventually
from sandbox.services import MAX_FAILED_STARTS, Service, ServiceError, Watchdog

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
