"""Webhooks of predictions: what is sent, how it is signed, what happens when it fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from replicate.webhook import (
    InvalidSignatureError,
    Webhooks,
    WebhookSigningSecret,
    WebhookValidationError,
)

from sandbox.http import Emulator, Request, Response
from sandbox.http.emulator import Handler
from sandbox.replicate import SANDBOX_WEBHOOK_SECRET, ReplicateEmulator
from sandbox.replicate.webhooks import sign
from sandbox.tests.replicate_client import Client

SECRET = WebhookSigningSecret(key=SANDBOX_WEBHOOK_SECRET)


class Receiver(Emulator):
    """Keep the webhooks that come; answer them with `statuses`, then 200."""

    name = "receiver"

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Request] = []
        self.statuses: list[int] = []
        self.location = ""

    def routes(self) -> list[tuple[str, str, Handler]]:
        return [("POST", "/hook", self._receive)]

    def _receive(self, request: Request) -> Response:
        self.received.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        return Response(status, b"", {"Location": self.location} if self.location else {})

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.body) for request in self.received]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def emulator() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(generation_seconds=0.1, webhook_retry_seconds=0.1) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


def completed(receiver: Receiver, client: Client, prompt: str = "a fox") -> Any:
    return client.create(
        prompt, webhook=f"{receiver.url}/hook?job=7", webhook_events_filter=["completed"]
    ).json()


PUBLISHED = {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX": "/485aUtxlie+TIScVpHggMfqOB4so2KWb7+Gf727B44=",
}


@pytest.mark.parametrize("secret", PUBLISHED)
def test_signatures_equal_the_published_ones(secret: str) -> None:
    body = b'{"test": 2432232314}'
    assert sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == (
        f"v1,{PUBLISHED[secret]}"
    )


def test_the_completed_webhook_is_the_prediction_and_validates(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    created = completed(receiver, client)
    until(lambda: len(receiver.received) == 1)
    request = receiver.received[0]
    assert request.target == "/hook?job=7"
    assert receiver.bodies[0] == client.read(f"/v1/predictions/{created['id']}")
    assert receiver.bodies[0]["status"] == "succeeded"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    Webhooks.validate(headers=request.headers, body=request.body.decode(), secret=SECRET)
    with pytest.raises(WebhookValidationError):
        Webhooks.validate(headers=request.headers, body=request.body.decode() + " ", secret=SECRET)


def test_without_a_filter_every_event_is_sent(receiver: Receiver, client: Client) -> None:
    client.create(webhook=f"{receiver.url}/hook")
    until(lambda: len(receiver.received) == 4)
    statuses = sorted(body["status"] for body in receiver.bodies)
    assert statuses == ["processing", "succeeded", "succeeded", "succeeded"]
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 4


def test_the_filter_chooses_start(receiver: Receiver, client: Client) -> None:
    client.create(webhook=f"{receiver.url}/hook", webhook_events_filter=["start"])
    until(lambda: len(receiver.received) == 1)
    time.sleep(0.3)
    assert [body["status"] for body in receiver.bodies] == ["processing"]


@pytest.mark.parametrize(("prompt", "status"), [("nude", "failed"), ("crash-the-model", "failed")])
def test_failures_are_told_too(
    receiver: Receiver, client: Client, prompt: str, status: str
) -> None:
    completed(receiver, client, prompt)
    until(lambda: len(receiver.received) == 1)
    assert receiver.bodies[0]["status"] == status
    assert receiver.bodies[0]["error"]


def test_cancelling_is_told(receiver: Receiver, client: Client) -> None:
    created = completed(receiver, client, "a never-ending story")
    client.post(created["urls"]["cancel"], timeout=60)
    until(lambda: len(receiver.received) == 1)
    assert receiver.bodies[0]["status"] == "canceled"


def test_a_failed_delivery_is_repeated_under_the_same_id(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    receiver.statuses = [500, 503]
    completed(receiver, client)
    until(lambda: len(emulator.deliveries) == 3)
    time.sleep(0.3)
    assert len(receiver.received) == 3
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert [(d.attempt, d.status) for d in emulator.deliveries] == [(1, 500), (2, 503), (3, 200)]


def test_an_unreachable_receiver_is_tried_a_few_times(
    emulator: ReplicateEmulator, client: Client
) -> None:
    client.create(webhook="http://127.0.0.1:9/hook", webhook_events_filter=["completed"])
    until(lambda: len(emulator.deliveries) == 4)
    time.sleep(0.2)
    assert [d.status for d in emulator.deliveries] == [0, 0, 0, 0]


def test_redirects_are_not_followed(receiver: Receiver, client: Client) -> None:
    receiver.location = f"{receiver.url}/elsewhere"
    receiver.statuses = [302]
    completed(receiver, client)
    until(lambda: len(receiver.received) == 2)
    assert {call.path for call in receiver.calls} == {"/hook"}


def test_lost_webhooks_never_come(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(webhook_lost_rate=1.0)
    completed(receiver, client)
    until(lambda: len(emulator.deliveries) == 1)
    time.sleep(0.2)
    assert (receiver.received, emulator.deliveries[0].fault) == ([], "lost")


def test_duplicates_share_their_id(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(webhook_duplicate_rate=1.0)
    completed(receiver, client)
    until(lambda: len(receiver.received) == 2)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1


def test_forged_webhooks_do_not_validate(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(webhook_forged_rate=1.0)
    completed(receiver, client)
    until(lambda: len(receiver.received) == 1)
    request = receiver.received[0]
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=request.headers, body=request.body.decode(), secret=SECRET)


def test_webhooks_can_come_late(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(webhook_delay_seconds=[0.4, 0.4])
    completed(receiver, client)
    until(lambda: len(receiver.calls) == 1)
    ended_at = emulator.predictions[0].completed_at
    assert ended_at is not None
    assert receiver.calls[0].received_at - ended_at >= 0.35


def test_deliveries_are_listed_over_http(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    created = completed(receiver, client)
    until(lambda: len(emulator.deliveries) == 1)
    listed = requests.get(f"{emulator.url}/_sandbox/deliveries", timeout=60).json()["deliveries"]
    assert [(d["prediction_id"], d["event"], d["status"]) for d in listed] == [
        (created["id"], "completed", 200)
    ]
