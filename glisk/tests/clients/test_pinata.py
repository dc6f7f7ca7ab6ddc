"""The Pinata client over sockets."""

from __future__ import annotations

import json
import time
from email import message_from_bytes
from email.message import Message
from email.utils import formatdate
from typing import Any

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.ipfs import Pin, PinataClient
from glisk.errors import (
    AccountError,
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
    raw,
    reset,
    silence,
)

CID = "bafkreib7iuxn6dmu4qki7ibjr2arn7dp5y7etonjbsqjnu2oaccs6ymmfe"
PINNED = {"IpfsHash": CID, "PinSize": 1024, "Timestamp": "2026-02-01T10:00:00.000Z"}


@pytest.fixture
def client(server: ScriptedServer, options: HttpOptions) -> PinataClient:
    return PinataClient(base_url=server.url, jwt="sandbox.pinata.jwt", options=options)


def pin(client: PinataClient, data: bytes = b"bytes") -> Pin:
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
        assert pin(client, data) == Pin(cid=CID, size_bytes=1024, is_duplicate=False)
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

    def test_tells_a_duplicate_and_a_wrong_cid_as_they_are(
        self, server: ScriptedServer, client: PinataClient
    ) -> None:
        server.script(answer(200, PINNED | {"isDuplicate": True, "IpfsHash": "QmWrong"}))
        assert pin(client) == Pin("QmWrong", 1024, is_duplicate=True)

    def test_works_with_a_key_pair(self, server: ScriptedServer, options: HttpOptions) -> None:
        server.script(answer(200, PINNED))
        pin(PinataClient(base_url=server.url, api_key="k-12345", api_secret="s", options=options))
        seen = server.requests[0].headers
        assert (seen["pinata_api_key"], seen["pinata_secret_api_key"]) == ("k-12345", "s")
        assert "authorization" not in seen

    def test_refuses_more_keyvalues_than_pinata_takes(self, client: PinataClient) -> None:
        with pytest.raises(ValueError, match="at most 10"):
            client.pin_file(
                data=b"", name="x", keyvalues={str(n): "" for n in range(11)}, cid_version=0
            )


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
        assert isinstance(error, TransientError)
        assert error.rate_limited and error.retry_after_seconds == 60
        for ahead in (-301, 301):
            theirs = int(time.time()) + ahead
            date = formatdate(theirs, usegmt=True)
            server.script(answer(429, b"", X_RateLimit_Reset=str(theirs + 30), Date=date))
            error = refused(client)
            assert isinstance(error, TransientError) and error.retry_after_seconds == 30

    @pytest.mark.impatient
    @pytest.mark.parametrize(
        "step",
        [
            answer(500, {"error": "internal"}),
            answer(503),
            answer(504),
            reset(),
            hang_up(),
            silence(),
            answer(200, b"<html>maintenance</html>"),
            answer(200, {"PinSize": 1}),
            answer(200, PINNED | {"IpfsHash": None}),
            raw(b'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"Ipfs'),
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


@pytest.mark.parametrize("given", [{}, {"api_key": "k"}, {"api_secret": "s"}])
def test_credentials_must_be_complete(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PINATA_JWT"):
        PinataClient(**given)


def test_from_settings_reads_every_setting(settings: Any, server: ScriptedServer) -> None:
    settings.PINATA_API_URL = server.url
    settings.PINATA_JWT = ""
    settings.PINATA_API_KEY = "the-key"
    settings.PINATA_API_SECRET = "the-secret"
    server.script(answer(200, PINNED))
    pin(PinataClient.from_settings())
    assert server.requests[0].headers["pinata_secret_api_key"] == "the-secret"
