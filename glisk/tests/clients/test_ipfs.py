"""Pinning at Pinata and reading from gateways, over sockets."""

from __future__ import annotations

import json
import time
from email import message_from_bytes
from email.message import Message
from email.utils import formatdate
from typing import Any

import pytest
from pytest_django import Settings

from glisk.cid import compute_cid
from glisk.clients.ipfs import GatewayClient, PinataClient, gateway_base_url
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    ProviderError,
    TransientError,
)
from glisk.tests.clients.scripted_server import ScriptedServer, SeenRequest, answer, hang_up

CID = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"
PINNED = {"IpfsHash": CID, "PinSize": 1024, "Timestamp": "2026-02-01T10:00:00.000Z"}


@pytest.fixture
def client(server: ScriptedServer, settings: Settings) -> PinataClient:
    settings.PINATA_API_URL, settings.PINATA_JWT = server.url, "sandbox.pinata.jwt"
    return PinataClient()


def pin(client: PinataClient, data: bytes = b"bytes") -> str:
    return client.pin_file(
        data=data,
        name="s0-token-7.webp",
        keyvalues={"season": "0", "token_id": "7"},
        cid_version=1,
        content_type="image/webp",
    )


def refused(client: PinataClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        pin(client)
    return caught.value


def parts(seen: SeenRequest) -> dict[str, Message]:
    whole = message_from_bytes(
        b"Content-Type: " + seen.headers["content-type"].encode() + b"\r\n\r\n" + seen.body
    )
    found = {}
    for part in whole.get_payload():
        assert isinstance(part, Message)
        found[str(part.get_param("name", header="content-disposition"))] = part
    return found


def test_a_pin_sends_the_bytes_unchanged_with_name_keys_and_version(
    server: ScriptedServer, client: PinataClient
) -> None:
    server.script(answer(200, PINNED), answer(200, PINNED | {"IpfsHash": "QmWrong"}))
    data = bytes(range(256)) * 3 + b"\r\n--"
    assert pin(client, data) == CID
    assert pin(client, data) == "QmWrong"  # told as it is
    seen = server.requests[0]
    assert (seen.method, seen.target) == ("POST", "/pinning/pinFileToIPFS")
    assert seen.headers["authorization"] == "Bearer sandbox.pinata.jwt"
    sent = parts(seen)
    assert data in seen.body
    assert sent["file"].get_filename() == "s0-token-7.webp"
    assert sent["file"].get_content_type() == "image/webp"
    assert json.loads(str(sent["pinataOptions"].get_payload())) == {"cidVersion": 1}
    assert json.loads(str(sent["pinataMetadata"].get_payload())) == {
        "name": "s0-token-7.webp",
        "keyvalues": {"season": "0", "token_id": "7"},
    }


def test_a_refusal_of_pinata_is_classified(server: ScriptedServer, client: PinataClient) -> None:
    bodies: list[tuple[int, Any, type[ProviderError], str]] = [
        (401, {"reason": "INVALID_CREDENTIALS", "details": "expired"}, AccountError, "expired"),
        (403, {"reason": "NO_SCOPES_FOUND", "details": "no scopes"}, AccountError, "no scopes"),
        (403, {"reason": "FORBIDDEN", "details": "usage limit"}, AccountError, "usage limit"),
        (400, "bad metadata", InvalidRequestError, "bad metadata"),
        (500, "internal", TransientError, "internal"),
    ]
    for status, told, kind, words in bodies:
        server.script(answer(status, {"error": told}))
        error = refused(client)
        assert type(error) is kind and words in str(error)
        assert error.code == (told["reason"] if isinstance(told, dict) else str(status))
    server.script(answer(400, {"message": "bad metadata"}))
    assert "bad metadata" in str(refused(client))


def test_for_its_rate_it_waits_as_told_or_for_the_reset_by_the_vendors_own_clock(
    server: ScriptedServer, client: PinataClient
) -> None:
    server.script(answer(429, b"slow down", Retry_After="60"))
    error = refused(client)
    assert error.rate_limited and error.retry_after_seconds == 60
    for ahead in (-301, 301):
        theirs = int(time.time()) + ahead
        date = formatdate(theirs, usegmt=True)
        server.script(answer(429, b"", X_RateLimit_Reset=str(theirs + 30), Date=date))
        assert refused(client).retry_after_seconds == 30


def test_a_lost_pin_may_be_repeated(server: ScriptedServer, client: PinataClient) -> None:
    for step in (hang_up(), answer(200, b"<html>"), answer(200, PINNED | {"IpfsHash": None})):
        server.script(step)
        assert type(refused(client)) is TransientError


def test_a_good_key_is_known_by_the_refusal_of_an_impossible_version(
    server: ScriptedServer, client: PinataClient
) -> None:
    server.script(answer(400, {"error": "invalid cidVersion"}))
    client.probe()
    assert server.requests[0].target == "/pinning/pinFileToIPFS"
    assert b'{"cidVersion": 99}' in server.requests[0].body
    server.script(answer(403, {"error": "plan limit"}), answer(404))
    with pytest.raises(AccountError, match="plan limit"):
        client.probe()
    with pytest.raises(InvalidRequestError):  # no refusal of a version either
        client.probe()


def test_without_a_jwt_the_key_pair_is_sent(server: ScriptedServer, settings: Settings) -> None:
    settings.PINATA_API_URL, settings.PINATA_JWT = server.url, ""
    settings.PINATA_API_KEY, settings.PINATA_API_SECRET = "the-key", "the-secret"
    server.script(answer(200, PINNED))
    pin(PinataClient())
    seen = server.requests[0].headers
    assert (seen["pinata_api_key"], seen["pinata_secret_api_key"]) == ("the-key", "the-secret")
    assert "authorization" not in seen


# -- gateways -----------------------------------------------------------------------------

DATA = b"the file"
FILE = compute_cid(DATA, version=1)


@pytest.fixture
def gateway(
    server: ScriptedServer, second_server: ScriptedServer, settings: Settings
) -> GatewayClient:
    settings.PINATA_GATEWAY = [server.url, f"{second_server.url}/ipfs/"]
    settings.PINATA_GATEWAY_TOKEN = "gw-token"
    return GatewayClient()


def test_a_file_is_fetched_by_its_path_and_checked(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    server.script(answer(200, DATA))
    assert gateway.fetch_verified(FILE, max_bytes=1000) == DATA
    assert server.requests[0].target == f"/ipfs/{FILE}"
    assert server.requests[0].headers["x-pinata-gateway-token"] == "gw-token"
    assert second_server.requests == []


def test_the_next_gateway_is_asked_and_never_sees_the_token(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    for step in (answer(404), hang_up(), answer(200, "<html>")):
        server.script(step)
        second_server.script(answer(200, DATA))
        assert gateway.fetch_verified(FILE, max_bytes=1000) == DATA
        seen = second_server.requests[-1]
        assert seen.target == f"/ipfs/{FILE}" and "x-pinata-gateway-token" not in seen.headers


def test_of_all_gateways_failures_the_most_hopeful_is_told(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    nonsense = answer(200, b"<html>")
    late = [answer(status) for status in (403, 404, 410, 429, 504)]
    for here, there, kind, code in (
        *((each, each, TransientError, None) for each in late),
        (nonsense, answer(404), TransientError, "not_available"),
        (answer(401), nonsense, AccountError, "401"),
        (answer(200, DATA + b"\n"), answer(200, b""), ArtefactError, "cid_mismatch"),
        (answer(200, b"x" * 1001), answer(200, b"x" * 1001), ArtefactError, "too_large"),
    ):
        server.script(here)
        second_server.script(there)
        with pytest.raises(ProviderError) as caught:
            gateway.fetch_verified(FILE, max_bytes=1000)
        assert type(caught.value) is kind and code in (None, caught.value.code)


def test_what_is_no_cid_is_not_asked_for(server: ScriptedServer, gateway: GatewayClient) -> None:
    for text in ("", "../etc/passwd", FILE + "/x", FILE.upper()):
        with pytest.raises(ArtefactError):
            gateway.fetch_verified(text, max_bytes=10)
    assert server.requests == []


def test_a_gateway_may_be_a_host_or_a_url() -> None:
    for given, url in {
        "glisk.mypinata.cloud": "https://glisk.mypinata.cloud",
        " ipfs.io/ipfs/ ": "https://ipfs.io",
        "https://ipfs.io/ipfs": "https://ipfs.io",
        "http://127.0.0.1:8603/": "http://127.0.0.1:8603",
        "https://gateway.example/ipfs/?key=1": "https://gateway.example?key=1",
    }.items():
        assert gateway_base_url(given) == url
