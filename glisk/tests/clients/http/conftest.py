"""A client of a server that answers by a script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from glisk.clients.http import HttpClient, HttpOptions
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> Iterator[HttpClient]:
    made = HttpClient(vendor="acme", base_url=server.url, options=options)
    yield made
    made.close()
