"""Child processes of the local world: started, watched, brought back, ended without leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from glisk.engine.process import die_with

_CHECK_SECONDS = 0.1
_READY_SECONDS = 120.0
PAUSE_SECONDS = 2.0
# A service that lived for so long died of something that happened, not of how it was started.
_STABLE_SECONDS = 5.0
# One that dies so often at its start has a fault that a restart does not mend.
MAX_FAILED_STARTS = 6
# The kernel ends a child with the *thread* that forked it: this one lives as long as we do.
_STARTER = ThreadPoolExecutor(1, "service-starter")


class ServiceError(Exception):
    """A service did not start or does not stay up; the message holds the end of its log."""


class Service:
    """One process with a log file of its own; `wanted` says whether it is meant to run."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: dict[str, str],
        log_file: Path,
        cwd: Path,
        is_ready: Callable[[], bool] | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self.wanted = False
        self.restarts = 0
        self.failed_starts = 0
        self.started_at = 0.0
        self._command, self._env, self._cwd = list(command), env, cwd
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def gave_up(self) -> bool:
        """Whether it ended at its start so often that nobody starts it any more."""
        return self.failed_starts >= MAX_FAILED_STARTS

    def start(self) -> None:
        """Start the process; return at once (see `wait_ready`)."""
        with self._lock:
            self.wanted = True
            _STARTER.submit(self._start).result()

    def bring_back(self) -> None:
        """Start the process again, unless somebody stopped it in the meantime."""
        with self._lock:
            if self.wanted and not self.is_running:
                self.restarts += 1
                _STARTER.submit(self._start).result()

    def _start(self) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the world, which ends its services in order.
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - no lock
            )
        self.started_at = time.monotonic()

    def wait_ready(self) -> None:
        """Return when the service answers; raise `ServiceError` if it does not in time."""
        deadline = time.monotonic() + _READY_SECONDS
        while self._is_ready is not None:
            answers = self._is_ready()
            if not self.is_running:  # whoever answers, it is somebody else
                raise ServiceError(f"{self.name} ended at its start:\n{self.log_tail()}")
            if answers:
                return
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} does not answer:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self, seconds: float = 15.0) -> int | None:
        """End the process with SIGTERM, after some seconds with SIGKILL; return its status."""
        with self._lock:
            self.wanted = False
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])


class Watchdog:
    """Start services again that end by themselves, as an init system would in production.

    At once what had been stable, after a pause what ends at its start, and that not for ever.
    """

    def __init__(self, services: Callable[[], Sequence[Service]]) -> None:
        self._services = services
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; no service is started after this returns."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_CHECK_SECONDS):
            for service in self._services():
                if service.wanted and not service.is_running and not service.gave_up:
                    self._bring_back(service)

    def _bring_back(self, service: Service) -> None:
        lived = time.monotonic() - service.started_at
        if lived > _STABLE_SECONDS:
            service.failed_starts = 0
        elif service.failed_starts and lived < PAUSE_SECONDS:
            return
        else:
            service.failed_starts += 1
        if not service.gave_up:
            service.bring_back()
