"""The web server as production runs it, as a process of a test."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from glisk.tests.database import database_url
from sandbox.node import free_port

ROOT = Path(__file__).resolve().parents[2]


class WebServer:
    def __init__(self, log: Path, **variables: str) -> None:
        self.port = free_port()
        self.log = log
        given = {
            "DJANGO_SETTINGS_MODULE": "glisk.settings",
            "DATABASE_URL": database_url(),
            "PORT": str(self.port),
            "WEB_WORKERS": "2",
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
        }
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn"],
                cwd=ROOT,
                env={**os.environ, **given, **variables},
                stderr=stderr,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                assert self.get("/health")[0] == 200
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail(self.log.read_text())

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
        return self.send(method, path, None, headers)

    def send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str]]:
        """Send one request; return the answer's status and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}

    def workers(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return children

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def records(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., WebServer]]:
    servers: list[WebServer] = []

    def start(**variables: str) -> WebServer:
        servers.append(WebServer(tmp_path / f"web-{len(servers)}.log", **variables))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
