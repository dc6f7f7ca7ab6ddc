"""A client of a Replicate that answers by a script."""

from __future__ import annotations

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.replicate import ReplicateClient
from glisk.tests.clients.replicate.stage import make
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> ReplicateClient:
    return make(server, options)
