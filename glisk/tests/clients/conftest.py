from __future__ import annotations

from collections.abc import Iterator

import pytest

from glisk.clients.http import HttpOptions
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def second_server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def options() -> HttpOptions:
    """Short timeouts, so that the tests of silence take no time."""
    return HttpOptions(connect_timeout_seconds=1, read_timeout_seconds=0.4, pool_size=4)
