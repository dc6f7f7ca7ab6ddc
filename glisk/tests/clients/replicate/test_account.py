"""Replicate's account, the model and the other settings of the client."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.replicate import ReplicateClient
from glisk.errors import AccountError, TransientError
from glisk.tests.clients.replicate.stage import ID, MODEL, TOKEN, VERSION, prediction
from glisk.tests.clients.scripted_server import ScriptedServer, answer, silence


class TestTheAccount:
    def test_is_probed(self, server: ScriptedServer, client: ReplicateClient) -> None:
        server.script(answer(200, {"type": "user", "username": "glisk"}), answer(401))
        client.probe()
        assert server.requests[0].target == "/v1/account"
        with pytest.raises(AccountError):
            client.probe()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_tells_its_webhook_secret(
        self, server: ScriptedServer, client: ReplicateClient
    ) -> None:
        server.script(answer(200, {"key": "whsec_abcdefgh"}), answer(200, {"nothing": 1}))
        assert client.fetch_webhook_secret() == "whsec_abcdefgh"
        assert server.requests[0].target == "/v1/webhooks/default/secret"
        assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
        with pytest.raises(TransientError):
            client.fetch_webhook_secret()


class TestTheSettings:
    def test_have_the_vendor_end_what_nobody_ends(
        self, server: ScriptedServer, options: HttpOptions
    ) -> None:
        told = {300: "5m", 61: "2m", 0.5: "1m", 0: None}
        for seconds in told:
            server.script(answer(201, prediction()))
            client = ReplicateClient(
                api_token=TOKEN,
                model=MODEL,
                base_url=server.url,
                cancel_after_seconds=seconds,
                options=options,
            )
            client.create_prediction(input={}, webhook_url=None)
        sent = [seen.headers.get("cancel-after") for seen in server.requests]
        assert sent == list(told.values())


def test_from_settings_reads_every_setting(settings: Any, server: ScriptedServer) -> None:
    settings.REPLICATE_BASE_URL = server.url
    settings.REPLICATE_API_TOKEN = TOKEN
    settings.REPLICATE_MODEL_VERSION = VERSION
    settings.HTTP_READ_TIMEOUT_SECONDS = 30
    server.script(answer(201, prediction()), silence())
    client = ReplicateClient.from_settings()
    client.create_prediction(input={}, webhook_url=None)
    assert server.requests[0].json["version"] == VERSION
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    settings.HTTP_READ_TIMEOUT_SECONDS = 0.1
    with pytest.raises(TransientError):
        ReplicateClient.from_settings().get_prediction(ID)
