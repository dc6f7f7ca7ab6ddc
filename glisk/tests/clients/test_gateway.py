"""The gateway client over sockets."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.cid import compute_cid
from glisk.clients.http import HttpOptions
from glisk.clients.ipfs import GatewayClient, gateway_base_url
from glisk.errors import AccountError, ArtefactError, ProviderError, TransientError
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    Step,
    answer,
    hang_up,
    silence,
)

DATA = b"the file"
CID = compute_cid(DATA, version=1)


@pytest.fixture
def client(
    server: ScriptedServer, second_server: ScriptedServer, options: HttpOptions
) -> GatewayClient:
    return GatewayClient(
        gateways=[server.url, f"{second_server.url}/ipfs/"], token="gw-token", options=options
    )


def failure(client: GatewayClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        client.fetch_verified(CID, max_bytes=1000)
    return caught.value


def test_a_file_is_fetched_by_its_path_and_checked(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient
) -> None:
    server.script(answer(200, DATA))
    assert client.fetch_verified(CID, max_bytes=1000) == DATA
    assert server.requests[0].target == f"/ipfs/{CID}"
    assert server.requests[0].headers["x-pinata-gateway-token"] == "gw-token"
    assert second_server.requests == []


@pytest.mark.parametrize("version", [0, 1])
def test_both_cid_versions_are_checked(
    server: ScriptedServer, client: GatewayClient, version: Any
) -> None:
    data = b"x" * 300_000
    cid = compute_cid(data, version=version)
    server.script(answer(200, data))
    assert client.fetch_verified(cid, max_bytes=400_000) == data


@pytest.mark.parametrize(
    "step", [answer(404), answer(504), answer(403, "<html>"), hang_up(), answer(200, "<html>")]
)
def test_the_next_gateway_is_asked_and_never_sees_the_token(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient, step: Step
) -> None:
    server.script(step)
    second_server.script(answer(200, DATA))
    assert client.fetch_verified(CID, max_bytes=1000) == DATA
    assert second_server.requests[0].target == f"/ipfs/{CID}"
    assert "x-pinata-gateway-token" not in second_server.requests[0].headers


@pytest.mark.impatient
def test_a_file_that_no_gateway_has_yet_may_come(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient
) -> None:
    late = [answer(status) for status in (403, 404, 410, 429, 500, 502, 503, 504)]
    for step in (*late, silence()):
        server.script(step)
        second_server.script(step)
        assert type(failure(client)) is TransientError


def test_other_bytes_everywhere_are_an_artefact_error(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient
) -> None:
    for served in (b"", b"<html>Please wait</html>", DATA + b"\n", DATA[:-1], b"The file"):
        server.script(answer(200, served))
        second_server.script(answer(200, served))
        error = failure(client)
        assert type(error) is ArtefactError and error.code == "cid_mismatch"


def test_the_most_hopeful_failure_is_told(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient
) -> None:
    nonsense = answer(200, b"<html>")
    for here, there, kind in (
        (nonsense, answer(404), TransientError),
        (answer(401), nonsense, AccountError),
    ):
        server.script(here)
        second_server.script(there)
        assert type(failure(client)) is kind


def test_a_file_over_the_limit_is_not_read_to_its_end(
    server: ScriptedServer, second_server: ScriptedServer, client: GatewayClient
) -> None:
    server.script(answer(200, b"x" * 1001))
    second_server.script(answer(200, b"x" * 1001))
    error = failure(client)
    assert type(error) is ArtefactError and error.code == "too_large"


def test_what_is_no_cid_is_not_asked_for(server: ScriptedServer, client: GatewayClient) -> None:
    for text in ("", "../etc/passwd", CID + "/x", CID.upper()):
        with pytest.raises(ArtefactError):
            client.fetch_verified(text, max_bytes=10)
    assert server.requests == []


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("glisk.mypinata.cloud", "https://glisk.mypinata.cloud"),
        (" ipfs.io/ipfs/ ", "https://ipfs.io"),
        ("https://ipfs.io/ipfs", "https://ipfs.io"),
        ("http://127.0.0.1:8603/", "http://127.0.0.1:8603"),
        ("https://gateway.example/ipfs/?key=1", "https://gateway.example?key=1"),
    ],
)
def test_a_gateway_may_be_a_host_or_a_url(given: str, url: str) -> None:
    assert gateway_base_url(given) == url


def test_at_least_one_gateway_is_needed() -> None:
    with pytest.raises(ValueError, match="PINATA_GATEWAY"):
        GatewayClient(gateways=[])


def test_from_settings_reads_every_setting(settings: Any, server: ScriptedServer) -> None:
    settings.PINATA_GATEWAY = [server.url]
    settings.PINATA_GATEWAY_TOKEN = "gw-token"
    server.script(answer(200, DATA))
    assert GatewayClient.from_settings().fetch_verified(CID, max_bytes=100) == DATA
    assert server.requests[0].headers["x-pinata-gateway-token"] == "gw-token"
