"""The vendor's own Python client works against the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from sandbox.replicate import SANDBOX_TOKEN, ReplicateEmulator

FLUX = "black-forest-labs/flux-schnell"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicateEmulator]:
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.05")
    with ReplicateEmulator(generation_seconds=0.2) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    made = Client(api_token=SANDBOX_TOKEN, base_url=emulator.url)
    yield made
    made._client.close()


def test_run_returns_the_outputs(client: Client) -> None:
    output = client.run(FLUX, input={"prompt": "a fox", "megapixels": "0.25"})
    assert isinstance(output, list)
    assert str(output[0]).endswith("/out-0.webp")


def test_run_raises_the_models_error(client: Client) -> None:
    with pytest.raises(ModelError, match="NSFW content"):
        client.run(FLUX, input={"prompt": "nsfw"})


def test_predictions_can_be_created_polled_listed_and_cancelled(client: Client) -> None:
    prediction = client.models.predictions.create(FLUX, input={"prompt": "a fox"})
    statuses: list[str] = [prediction.status]
    prediction.wait()
    statuses.append(prediction.status)
    assert statuses == ["starting", "succeeded"]
    assert prediction.version == "hidden"
    second = client.predictions.create(version=FLUX, input={"prompt": "never-ending"})
    second.cancel()
    assert client.predictions.get(second.id).status == "canceled"
    assert [item.id for item in client.predictions.list().results] == [second.id, prediction.id]


def test_refusals_become_the_clients_errors(emulator: ReplicateEmulator, client: Client) -> None:
    with pytest.raises(ReplicateError) as invalid:
        client.models.predictions.create(FLUX, input={"prompt": "x", "seed": None})
    assert (invalid.value.status, invalid.value.title) == (422, "Input validation failed")
    wrong = Client(api_token="r8_wrong", base_url=emulator.url)
    with pytest.raises(ReplicateError) as refused:
        wrong.predictions.list()
    assert refused.value.status == 401
    wrong._client.close()


def test_throttled_reads_are_repeated_by_the_client(
    emulator: ReplicateEmulator, client: Client
) -> None:
    prediction = client.models.predictions.create(FLUX, input={"prompt": "a fox"})
    emulator.set_faults(retry_after_seconds=0)
    emulator.plan_fault("throttle", times=2, scope="^GET")
    assert client.predictions.get(prediction.id).id == prediction.id
    assert [call.status for call in emulator.calls] == [201, 429, 429, 200]


def test_the_webhook_secret_can_be_fetched(client: Client) -> None:
    assert client.webhooks.default.secret().key.startswith("whsec_")
