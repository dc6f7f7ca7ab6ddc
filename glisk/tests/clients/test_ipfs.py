"""Pinning at Pinata and reading from gateways, over sockets."""

from __future__ import annotations

import json
import time
from email import message_from_bytes
from email.message import Message
from email.utils import formatdate
from typing import Any

import pytest

from glisk.cid import compute_cid
from glisk.clients.http import HttpOptions
from glisk.clients.ipfs import GatewayClient, PinataClient, gateway_base_url
from glisk.errors import (
    AccountError,
    ArtefactError,
    InvalidRequestError,
    ProviderError,
    TransientError,
    UnknownOutcomeError,
)
from glisk.tests.clients.scripted_server import (
    ScriptedServer,
    SeenRequest,
    Step,
    answer,
    hang_up,
)

CID = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"
PINNED = {"IpfsHash": CID, "PinSize": 1024, "Timestamp": "2026-02-01T10:00:00.000Z"}


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> PinataClient:
    return PinataClient(base_url=server.url, jwt="sandbox.pinata.jwt", options=options)


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


class TestPinning:
    def test_sends_the_bytes_unchanged_with_name_keys_and_version(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        server.script(answer(200, PINNED))
        data = bytes(range(256)) * 3 + b"\r\n--"
        assert pin(client, data) == CID
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

    def test_tells_a_wrong_cid_as_it_is(self, server: ScriptedServer, client: PinataClient) -> None:
        server.script(answer(200, PINNED | {"IpfsHash": "QmWrong"}))
        assert pin(client) == "QmWrong"


class TestARefusal:
    def test_of_key_or_plan_pauses_and_names_the_reason(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        for status, reason, details in (
            (401, "INVALID_CREDENTIALS", "Invalid/expired credentials"),
            (403, "NO_SCOPES_FOUND", "This key does not have the required scopes"),
            (403, "FORBIDDEN", "Account blocked due to plan usage limit"),
        ):
            server.script(answer(status, {"error": {"reason": reason, "details": details}}))
            error = refused(client)
            assert type(error) is AccountError and error.code == reason
            assert details in str(error)

    def test_of_the_request_is_permanent(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        for name in ("error", "message"):
            server.script(answer(400, {name: "bad metadata"}))
            error = refused(client)
            assert type(error) is InvalidRequestError and "bad metadata" in str(error)

    def test_for_rate_waits_as_told_or_for_the_reset_by_the_vendors_own_clock(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        server.script(answer(429, b"slow down", Retry_After="60"))
        error = refused(client)
        assert error.rate_limited and error.retry_after_seconds == 60
        for ahead in (-301, 301):
            theirs = int(time.time()) + ahead
            date = formatdate(theirs, usegmt=True)
            server.script(answer(429, b"", X_RateLimit_Reset=str(theirs + 30), Date=date))
            assert refused(client).retry_after_seconds == 30

    @pytest.mark.parametrize(
        "step",
        [
            answer(500, {"error": "internal"}),
            hang_up(),
            answer(200, b"<html>maintenance</html>"),
            answer(200, PINNED | {"IpfsHash": None}),
        ],
    )
    def test_or_loss_may_be_repeated_because_pinning_is_idempotent(
        self, server: ScriptedServer, client: PinataClient, step: Step
    ) -> None:
        server.script(step)
        error = refused(client)
        assert isinstance(error, TransientError)
        assert not isinstance(error, UnknownOutcomeError)


class TestProbing:
    def test_takes_the_refusal_of_an_impossible_version_for_a_good_key(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        server.script(answer(400, {"error": "invalid cidVersion"}))
        client.probe()
        seen = server.requests[0]
        assert seen.target == "/pinning/pinFileToIPFS"
        assert b'{"cidVersion": 99}' in seen.body

    def test_finds_the_blocked_account_that_test_authentication_hides(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        server.script(answer(403, {"error": "plan limit"}), answer(404))
        with pytest.raises(AccountError, match="plan limit"):
            client.probe()
        with pytest.raises(InvalidRequestError):  # no refusal of a version either
            client.probe()


def test_pinata_is_read_from_the_settings(settings: Any, server: ScriptedServer) -> None:
    settings.PINATA_API_URL = server.url
    settings.PINATA_JWT = ""
    settings.PINATA_API_KEY = "the-key"
    settings.PINATA_API_SECRET = "the-secret"
    server.script(answer(200, PINNED))
    pin(PinataClient.from_settings())
    seen = server.requests[0].headers
    assert (seen["pinata_api_key"], seen["pinata_secret_api_key"]) == ("the-key", "the-secret")
    assert "authorization" not in seen


# -- gateways -----------------------------------------------------------------------------

DATA = b"the file"
FILE = compute_cid(DATA, version=1)


@pytest.fixture
def gateway(
    server: ScriptedServer, second_server: ScriptedServer, options: HttpOptions
) -> GatewayClient:
    return GatewayClient(
        gateways=[server.url, f"{second_server.url}/ipfs/"], token="gw-token", options=options
    )


def unfetched(gateway: GatewayClient) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        gateway.fetch_verified(FILE, max_bytes=1000)
    return caught.value


def test_a_file_is_fetched_by_its_path_and_checked(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    server.script(answer(200, DATA))
    assert gateway.fetch_verified(FILE, max_bytes=1000) == DATA
    assert server.requests[0].target == f"/ipfs/{FILE}"
    assert server.requests[0].headers["x-pinata-gateway-token"] == "gw-token"
    assert second_server.requests == []


@pytest.mark.parametrize("step", [answer(404), hang_up(), answer(200, "<html>")])
def test_the_next_gateway_is_asked_and_never_sees_the_token(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient, step: Step
) -> None:
    server.script(step)
    second_server.script(answer(200, DATA))
    assert gateway.fetch_verified(FILE, max_bytes=1000) == DATA
    assert second_server.requests[0].target == f"/ipfs/{FILE}"
    assert "x-pinata-gateway-token" not in second_server.requests[0].headers


def test_a_file_that_no_gateway_has_yet_may_come(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    for status in (403, 404, 410, 429, 504):
        server.script(answer(status))
        second_server.script(answer(status))
        assert type(unfetched(gateway)) is TransientError


def test_other_bytes_everywhere_are_an_artefact_error(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    for served, code in (
        (b"", "cid_mismatch"),
        (DATA + b"\n", "cid_mismatch"),
        (b"The file", "cid_mismatch"),
        (b"x" * 1001, "too_large"),
    ):
        server.script(answer(200, served))
        second_server.script(answer(200, served))
        error = unfetched(gateway)
        assert type(error) is ArtefactError and error.code == code


def test_the_most_hopeful_failure_is_told(
    server: ScriptedServer, second_server: ScriptedServer, gateway: GatewayClient
) -> None:
    nonsense = answer(200, b"<html>")
    for here, there, kind in (
        (nonsense, answer(404), TransientError),
        (answer(401), nonsense, AccountError),
    ):
        server.script(here)
        second_server.script(there)
        assert type(unfetched(gateway)) is kind


def test_what_is_no_cid_is_not_asked_for(server: ScriptedServer, gateway: GatewayClient) -> None:
    for text in ("", "../etc/passwd", FILE + "/x", FILE.upper()):
        with pytest.raises(ArtefactError):
            gateway.fetch_verified(text, max_bytes=10)
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


def test_gateways_are_read_from_the_settings(settings: Any, server: ScriptedServer) -> None:
    settings.PINATA_GATEWAY = [server.url]
    settings.PINATA_GATEWAY_TOKEN = "gw-token"
    server.script(answer(200, DATA))
    assert GatewayClient.from_settings().fetch_verified(FILE, max_bytes=100) == DATA
    assert server.requests[0].headers["x-pinata-gateway-token"] == "gw-token"
