"""A receiver of alerts on loopback, which apprise reaches by `json://`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from glisk.console.alerts.tasks import watch_troubles
from glisk.tests.asking import beat
from glisk.tests.clients.scripted_server import ScriptedServer, answer
from tokens.recovery.progress import Progress, save_progress

MANY = 50
KEY = "Made-up-key-1"


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    server.script(*[answer(200)] * MANY)
    yield server
    server.close()


@pytest.fixture
def told(receiver: ScriptedServer, settings: Settings) -> Told:
    """Have everything told at once, to the receiver; nothing is wrong yet."""
    settings.ALERT_URLS = [address_of(receiver)]
    settings.ALERT_AFTER_SECONDS = 0
    settings.PUBLIC_BASE_URL = "https://glisk.example"
    return Told(receiver)


@pytest.fixture
def all_is_well(db: None) -> None:
    beat("supervisor", "generation", "upload", "reveal")
    save_progress(Progress(block=1, head=1))


def address_of(server: ScriptedServer) -> str:
    return f"json://127.0.0.1:{server.port}/{KEY}"


class Told:
    """What the receiver gets."""

    def __init__(self, receiver: ScriptedServer) -> None:
        self._receiver = receiver
        self._read = 0

    def now(self) -> list[dict[str, Any]]:
        """Do what the schedule does; return the messages that come of it."""
        watch_troubles()
        return self.since()

    def since(self) -> list[dict[str, Any]]:
        """Return the messages since the last look."""
        seen = [request.json for request in self._receiver.requests[self._read :]]
        self._read += len(seen)
        return seen
