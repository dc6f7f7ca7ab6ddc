"""What the tests of the Replicate client share."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.replicate import ReplicateClient
from glisk.errors import ProviderError
from glisk.tests.clients.scripted_server import ScriptedServer

TOKEN = "r8_test_0000000000000000000000000000000000"
MODEL = "black-forest-labs/flux-schnell"
VERSION = "c0ffee" * 10 + "beef"
ID = "gm3qorzdhgbfurvjtvhg6dckhu"


def prediction(**changes: Any) -> dict[str, Any]:
    """A prediction as the API shows it."""
    shown = {
        "id": ID,
        "model": MODEL,
        "version": "hidden",
        "input": {"prompt": "a cat"},
        "output": None,
        "logs": "",
        "error": None,
        "status": "starting",
        "data_removed": False,
        "created_at": "2026-02-01T10:00:00.123Z",
        "completed_at": None,
        "metrics": {},
    }
    return shown | changes


def make(server: ScriptedServer, options: HttpOptions, model: str = MODEL) -> ReplicateClient:
    return ReplicateClient(api_token=TOKEN, model=model, base_url=server.url, options=options)


def refused(client: ReplicateClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.create_prediction(input={"prompt": "x"}, webhook_url=None)
    return caught.value
