"""Replicate's HTTP API: creation, refusals, reading, listing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.replicate import SANDBOX_TOKEN, SANDBOX_WEBHOOK_SECRET, ReplicateEmulator
from sandbox.tests.replicate_client import FLUX, Client

SDXL = "7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc"


@pytest.fixture
def emulator() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(generation_seconds=0.1) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


def test_a_new_prediction_is_starting(emulator: ReplicateEmulator, client: Client) -> None:
    response = client.create("a fox", settings={"seed": 4})
    assert response.status_code == 201
    prediction = response.json()
    assert re.fullmatch(r"[0-9a-z]{26}", prediction["id"])
    assert prediction["input"] == {"prompt": "a fox", "seed": 4}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", prediction["created_at"])
    get = f"{emulator.url}/v1/predictions/{prediction['id']}"
    assert prediction["urls"]["get"] == get
    assert prediction["urls"]["cancel"] == f"{get}/cancel"
    unset = ("output", "error", "started_at", "completed_at")
    assert [prediction[name] for name in unset] == [None] * 4
    assert (prediction["status"], prediction["version"]) == ("starting", "hidden")
    assert (prediction["data_removed"], prediction["metrics"]) == (False, {})


@pytest.mark.parametrize(
    "version", ["black-forest-labs/flux-schnell", SDXL, f"stability-ai/sdxl:{SDXL}"]
)
def test_a_version_names_the_model(client: Client, version: str) -> None:
    response = client.create(path="/v1/predictions", version=version)
    assert response.status_code == 201
    expected = "hidden" if "flux" in version else SDXL
    assert response.json()["version"] == expected


@pytest.mark.parametrize("version", ["", None, "0" * 64, "nobody/nothing", "stability-ai/sdxl"])
def test_an_unknown_version_is_refused(client: Client, version: str | None) -> None:
    response = client.create(path="/v1/predictions", version=version)
    assert response.status_code == 422
    assert response.json() == {
        "title": "Invalid version or not permitted",
        "detail": "The specified version does not exist (or perhaps you don't have permission to "
        "use it?)",
        "status": 422,
    }


@pytest.mark.parametrize("model", ["nobody/nothing", "stability-ai/sdxl"])
def test_only_official_models_run_by_name(client: Client, model: str) -> None:
    response = client.create(path=f"/v1/models/{model}/predictions")
    assert response.status_code == 404
    assert response.json() == {
        "detail": "The requested resource could not be found.",
        "status": 404,
    }


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer ", f"Token {SANDBOX_TOKEN}"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", FLUX),
        ("POST", "/v1/predictions"),
        ("GET", "/v1/predictions"),
        ("GET", "/v1/predictions/abc"),
        ("POST", "/v1/predictions/abc/cancel"),
        ("GET", "/v1/account"),
        ("GET", "/v1/webhooks/default/secret"),
    ],
)
def test_every_call_needs_the_token(
    emulator: ReplicateEmulator, method: str, path: str, authorization: str
) -> None:
    response = requests.request(
        method,
        emulator.url + path,
        json={"input": {"prompt": "x"}},
        headers={"Authorization": authorization},
        timeout=60,
    )
    assert response.status_code == 401
    assert response.json() == {
        "title": "Unauthenticated",
        "detail": "You did not pass a valid authentication token",
        "status": 401,
    }
    assert len(emulator.bill) == 0


def test_a_missing_prompt_is_named(client: Client, emulator: ReplicateEmulator) -> None:
    response = client.post(client.base + FLUX, json={"input": {}}, timeout=60)
    assert response.status_code == 422
    assert response.json() == {
        "detail": "- input: prompt is required\n",
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": [
            {"type": "required", "field": "input", "description": "prompt is required"}
        ],
    }
    assert len(emulator.bill) == 0


@pytest.mark.parametrize(
    ("settings", "detail", "kind"),
    [
        (
            {"seed": None},
            "- input.seed: Invalid type. Expected: integer, given: null\n",
            "invalid_type",
        ),
        (
            {"seed": "7"},
            "- input.seed: Invalid type. Expected: integer, given: string\n",
            "invalid_type",
        ),
        (
            {"seed": 1.5},
            "- input.seed: Invalid type. Expected: integer, given: number\n",
            "invalid_type",
        ),
        (
            {"go_fast": 1},
            "- input.go_fast: Invalid type. Expected: boolean, given: integer\n",
            "invalid_type",
        ),
        (
            {"prompt": ["x"]},
            "- input.prompt: Invalid type. Expected: string, given: array\n",
            "invalid_type",
        ),
        (
            {"output_format": "gif"},
            "- input.output_format: input.output_format must be one of the following: "
            '"webp", "jpg", "png"\n',
            "enum",
        ),
        (
            {"num_outputs": 5},
            "- input.num_outputs: Must be less than or equal to 4\n",
            "number_lte",
        ),
        (
            {"output_quality": -1},
            "- input.output_quality: Must be greater than or equal to 0\n",
            "number_gte",
        ),
    ],
)
def test_wrong_settings_are_named(
    client: Client, settings: dict[str, Any], detail: str, kind: str
) -> None:
    response = client.create(settings=settings)
    assert response.status_code == 422
    assert response.json()["detail"] == detail
    assert [field["type"] for field in response.json()["invalid_fields"]] == [kind]


def test_several_wrong_settings_have_a_line_each(client: Client) -> None:
    response = client.create(settings={"seed": None, "aspect_ratio": "2:1"})
    assert response.json()["detail"].count("\n") == 2


@pytest.mark.parametrize("settings", [{"unknown_option": 1}, {"seed": 2.0}, {"prompt": ""}])
def test_harmless_settings_are_accepted(client: Client, settings: dict[str, Any]) -> None:
    assert client.create(settings=settings).status_code == 201


@pytest.mark.parametrize("body", [b"", b"no json", b"[]"])
def test_a_body_that_is_no_object_is_a_400(client: Client, body: bytes) -> None:
    assert client.post(client.base + FLUX, data=body, timeout=60).status_code == 400


@pytest.mark.parametrize(
    "extra",
    [
        {"webhook": "ftp://example.org"},
        {"webhook": "http://example.org", "webhook_events_filter": ["finished"]},
        {"webhook_events_filter": "completed"},
    ],
)
def test_wrong_webhooks_are_refused(client: Client, extra: dict[str, Any]) -> None:
    assert client.create(**extra).status_code == 422


@pytest.mark.parametrize(
    ("refusal", "status", "text"),
    [
        ("insufficient_credit", 402, "You have insufficient credit to run this model. Go to https"),
        ("spend_limit", 402, "You've hit your monthly spend limit."),
        ("invalid_version", 422, "The specified version does not exist"),
    ],
)
def test_an_account_that_may_not_pay_is_refused(
    emulator: ReplicateEmulator, client: Client, refusal: str, status: int, text: str
) -> None:
    emulator.set_faults(account_refusal=refusal)
    response = client.create()
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.json()["detail"].startswith(text)
    assert len(emulator.bill) == 0


def test_a_throttled_call_says_so_in_header_and_body(
    emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(throttle_rate=1.0, retry_after_seconds=30)
    response = client.create()
    assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
    assert response.json() == {
        "detail": "Request was throttled. Your rate limit resets in ~30s.",
        "status": 429,
        "retry_after": 30,
    }


def test_the_rate_limit_counts_creations_only(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.set_faults(creations_per_minute=2)
    assert [client.create().status_code for _ in range(3)] == [201, 201, 429]
    assert client.get(client.base + "/v1/account", timeout=60).status_code == 200


def test_server_errors_have_the_vendors_body(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.plan_fault("server_error")
    response = client.create()
    assert (response.status_code, response.json()) == (500, {"detail": "Internal server error"})


def test_account_and_secret_can_be_read(client: Client) -> None:
    assert set(client.read("/v1/account")) == {"type", "username", "name", "github_url"}
    assert client.read("/v1/webhooks/default/secret") == {"key": SANDBOX_WEBHOOK_SECRET}


def test_an_unknown_prediction_is_a_404(client: Client) -> None:
    for response in (
        client.get(client.base + "/v1/predictions/" + "a" * 26, timeout=60),
        client.post(client.base + f"/v1/predictions/{'a' * 26}/cancel", timeout=60),
    ):
        assert response.status_code == 404
        assert response.json()["detail"] == "The requested resource could not be found."


def test_lists_come_newest_first_in_pages_of_a_hundred(
    emulator: ReplicateEmulator, client: Client
) -> None:
    created = [client.create("crash-the-model").json()["id"] for _ in range(205)]
    seen: list[str] = []
    page = client.read("/v1/predictions")
    assert page["previous"] is None
    sizes = [len(page["results"])]
    seen += [item["id"] for item in page["results"]]
    while page["next"]:
        page = client.get(page["next"], timeout=60).json()
        sizes.append(len(page["results"]))
        seen += [item["id"] for item in page["results"]]
    assert sizes == [100, 100, 5]
    assert seen == created[::-1]
    before = client.get(page["previous"], timeout=60).json()
    assert [item["id"] for item in before["results"]] == seen[100:200]


def test_lists_can_be_bounded_in_time(client: Client) -> None:
    created = []
    for _ in range(3):
        created.append(client.create("crash-the-model").json())
        client.create("never-ending", headers={"Prefer": "wait=1"})
    middle = created[1]["created_at"]
    after = client.read(f"/v1/predictions?created_after={middle}")
    assert [item["id"] for item in after["results"]][-1] == created[1]["id"]
    assert len(after["results"]) == 4
    before = client.read(f"/v1/predictions?created_before={middle}")
    assert len(before["results"]) == 2
    assert client.read("/v1/predictions?created_after=yesterday")["status"] == 422


def test_list_items_leave_out_the_logs_and_more_on_demand(
    emulator: ReplicateEmulator, client: Client
) -> None:
    client.create(headers={"Prefer": "wait"})
    item = client.read("/v1/predictions")["results"][0]
    assert item["status"] == "succeeded"
    assert item["input"] == {"prompt": "a fox"}
    assert "logs" not in item
    emulator.set_faults(list_omits="logs,input,output")
    assert "input" not in client.read("/v1/predictions")["results"][0]


def test_every_accepted_prediction_is_on_the_bill_once(
    emulator: ReplicateEmulator, client: Client
) -> None:
    first = client.create("a", webhook="http://127.0.0.1:9/?job=1").json()
    client.create("b", settings={"num_outputs": 3})
    client.create("a", webhook="http://127.0.0.1:9/?job=2")
    bill = emulator.bill
    assert bill.entries[0].subject == first["id"]
    assert bill.entries[0].detail["webhook"] == "http://127.0.0.1:9/?job=1"
    assert [entry.price_usd for entry in bill.entries] == [0.003, 0.009, 0.003]
    assert bill.duplicates() == {'{"prompt": "a"}': 2}


def test_a_reply_lost_after_acceptance_is_found_in_the_list(
    emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.plan_fault("drop_after", scope="^POST")
    with pytest.raises(requests.ConnectionError):
        client.create("lost")
    found = client.read("/v1/predictions")["results"]
    assert [item["input"] for item in found] == [{"prompt": "lost"}]
    assert len(emulator.bill) == 1
