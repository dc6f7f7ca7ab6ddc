"""Replicate: creation, refusals, runs, listing, files, webhooks."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from aiohttp import web
from PIL import Image, UnidentifiedImageError
from replicate.webhook import Webhooks, WebhookSigningSecret

from sandbox.http import Emulator, Faults
from sandbox.node import free_port
from sandbox.paint import Painter
from sandbox.replicate.creation import MODELS
from sandbox.replicate.emulator import SANDBOX_TOKEN, SANDBOX_WEBHOOK_SECRET, ReplicateEmulator
from sandbox.replicate.faults import OUTPUT_SHAPES
from sandbox.replicate.predictions import sign

FLUX = "/v1/models/black-forest-labs/flux-schnell/predictions"
SDXL = MODELS[-1].version
PAINTER = Painter(64)


class Client(requests.Session):
    """Call an emulator as its account."""

    def __init__(self, emulator: ReplicateEmulator) -> None:
        super().__init__()
        self.base = emulator.url
        self.headers["Authorization"] = f"Bearer {SANDBOX_TOKEN}"

    def create(self, prompt: str = "a fox", path: str = FLUX, **body: Any) -> requests.Response:
        headers, settings = body.pop("headers", {}), body.pop("settings", {})
        body = {"input": {"prompt": prompt, **settings}, **body}
        return self.post(self.base + path, json=body, headers=headers, timeout=60)

    def read(self, path: str) -> Any:
        return self.get(self.base + path, timeout=60).json()

    def ended(self, prediction_id: str) -> Any:
        """Wait until a prediction has ended."""
        path = f"/v1/predictions/{prediction_id}"
        until(lambda: self.read(path)["status"] not in ("starting", "processing"))
        return self.read(path)

    def finish(self, prompt: str = "a fox", **settings: Any) -> Any:
        return self.ended(self.create(prompt, settings=settings).json()["id"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def emulator() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(
        generation_seconds=0.05, webhook_retry_seconds=0.1, painter=PAINTER
    ) as running:
        yield running


@pytest.fixture
def client(emulator: ReplicateEmulator) -> Iterator[Client]:
    with Client(emulator) as session:
        yield session


# -- creation -------------------------------------------------------------------------------


def test_a_new_prediction_is_starting(emulator: ReplicateEmulator, client: Client) -> None:
    response = client.create("a fox", settings={"seed": 4, "unknown_option": 1})
    assert response.status_code == 201
    prediction = response.json()
    assert re.fullmatch(r"[0-9a-z]{26}", prediction["id"])
    assert prediction["input"] == {"prompt": "a fox", "seed": 4, "unknown_option": 1}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", prediction["created_at"])
    get = f"{emulator.url}/v1/predictions/{prediction['id']}"
    assert (prediction["urls"]["get"], prediction["urls"]["cancel"]) == (get, f"{get}/cancel")
    unset = ("output", "error", "started_at", "completed_at")
    assert [prediction[name] for name in unset] == [None] * 4
    assert (prediction["status"], prediction["version"]) == ("starting", "hidden")


def test_a_version_or_a_name_says_which_model(client: Client) -> None:
    for version in ("black-forest-labs/flux-schnell", SDXL, f"stability-ai/sdxl:{SDXL}"):
        assert client.create(path="/v1/predictions", version=version).status_code == 201
    for version in ("", "0" * 64, "nobody/nothing", "stability-ai/sdxl"):
        response = client.create(path="/v1/predictions", version=version)
        assert response.status_code == 422
        assert response.json()["title"] == "Invalid version or not permitted"
    for model in ("nobody/nothing", "stability-ai/sdxl"):
        assert client.create(path=f"/v1/models/{model}/predictions").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", FLUX),
        ("GET", "/v1/predictions"),
        ("GET", "/v1/predictions/abc"),
        ("POST", "/v1/predictions/abc/cancel"),
        ("GET", "/v1/account"),
        ("GET", "/v1/webhooks/default/secret"),
    ],
)
def test_every_call_needs_the_token(emulator: ReplicateEmulator, method: str, path: str) -> None:
    for authorization in ("", "Bearer wrong", f"Token {SANDBOX_TOKEN}"):
        headers = {"Authorization": authorization}
        response = requests.request(
            method, emulator.url + path, json={}, headers=headers, timeout=60
        )
        assert response.status_code == 401
        assert response.json()["title"] == "Unauthenticated"


def test_a_wrong_input_is_named(client: Client, emulator: ReplicateEmulator) -> None:
    missing = client.post(client.base + FLUX, json={"input": {}}, timeout=60)
    assert missing.status_code == 422
    assert missing.json() == {
        "detail": "- input: prompt is required\n",
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": [
            {"type": "required", "field": "input", "description": "prompt is required"}
        ],
    }
    assert client.post(client.base + FLUX, data=b"[]", timeout=60).status_code == 400
    assert len(emulator.bill) == 0


def test_the_rate_limit_counts_creations_only(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.set_faults(creations_per_minute=2)
    refused = [client.create() for _ in range(3)][2]
    seconds = int(refused.headers["Retry-After"])
    assert refused.json() == {
        "detail": f"Request was throttled. Your rate limit resets in ~{seconds}s.",
        "status": 429,
        "retry_after": seconds,
    }
    assert client.read("/v1/account")["username"] == "glisk-sandbox"
    assert client.read("/v1/webhooks/default/secret") == {"key": SANDBOX_WEBHOOK_SECRET}


def test_every_accepted_prediction_is_on_the_bill_once(
    emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.plan_fault("drop_after", scope="^POST")
    with pytest.raises(requests.ConnectionError):
        client.create("a")
    client.create("b")
    client.create("a")
    assert [entry.price_usd for entry in emulator.bill.entries] == [0.003] * 3
    assert emulator.bill.duplicates() == {'{"prompt": "a"}': 2}
    listed = client.read("/v1/predictions")["results"]
    assert [item["input"]["prompt"] for item in listed] == ["a", "b", "a"]


# -- runs -----------------------------------------------------------------------------------


def test_a_prediction_takes_its_time_and_succeeds() -> None:
    with ReplicateEmulator(generation_seconds=0.3) as emulator, Client(emulator) as client:
        done = client.finish(seed=11)
        assert done["status"] == "succeeded"
        assert done["metrics"]["total_time"] >= done["metrics"]["predict_time"] >= 0.3
        assert done["logs"].startswith("Using seed: 11\n")
        assert (done["error"], len(done["output"])) == (None, 1)


def test_a_running_prediction_can_be_cancelled_an_ended_one_not(client: Client) -> None:
    ended = client.finish()
    running = client.create("a never-ending story").json()
    cancelled = client.post(running["urls"]["cancel"], timeout=60).json()
    assert (cancelled["status"], cancelled["output"]) == ("canceled", None)
    assert client.post(ended["urls"]["cancel"], timeout=60).json()["status"] == "succeeded"


def test_what_never_ends_is_canceled_at_its_deadline(client: Client) -> None:
    stuck = client.create("never-ending", headers={"Cancel-After": "1s"}).json()
    assert client.ended(stuck["id"])["metrics"]["total_time"] >= 1


def test_predictions_outlive_a_restart(tmp_path: Path) -> None:
    port = free_port()
    first = ReplicateEmulator(
        generation_seconds=0.5, state_dir=tmp_path, port=port, painter=PAINTER
    )
    with first, Client(first) as client:
        done = client.finish("kept")
        picture = requests.get(done["output"][0], timeout=60).content
        running = client.create("under way").json()
    with (tmp_path / "predictions.jsonl").open("a") as file:
        file.write('{"id": "half')
    second = ReplicateEmulator(
        generation_seconds=0.3, state_dir=tmp_path, port=port, painter=PAINTER
    )
    with second, Client(second) as client:
        assert client.read(f"/v1/predictions/{done['id']}") == done
        assert requests.get(done["output"][0], timeout=60).content == picture
        assert client.ended(running["id"])["input"] == {"prompt": "under way"}
        assert {e.subject for e in second.bill.entries} == {done["id"], running["id"]}
        client.create("forgotten while it runs")
        second.reset(state=True)
        client.create("after the reset")
        until(lambda: second.predictions[0].terminal)
        assert [each.input["prompt"] for each in second.predictions] == ["after the reset"]


def test_refusals_come_by_words_and_in_the_vendors_words(
    client: Client, emulator: ReplicateEmulator
) -> None:
    nude = client.finish("A NUDE figure")
    assert (nude["status"], nude["output"]) == ("failed", None)
    assert nude["error"].startswith("All generated images contained NSFW content.")
    assert "Total safe images: 0 out of 1" in nude["logs"]
    assert client.finish("nudeness in art")["status"] == "succeeded"
    assert client.finish("gore")["error"].endswith("(E005)")
    assert "E6716" in client.finish("crash-the-model")["error"]
    emulator.set_faults(refusal_text="Request Moderated")
    assert client.finish("gore")["error"] == "Request Moderated"
    emulator.set_faults(refusal_text="Request Moderated", refusal_in_logs=True)
    quiet = client.finish("gore")
    assert (quiet["status"], quiet["output"], quiet["error"]) == ("succeeded", [], None)
    assert "Request Moderated" in quiet["logs"]


# -- files ----------------------------------------------------------------------------------


def download(url: str) -> bytes:
    response = requests.get(url, timeout=60)
    assert response.status_code == 200
    return response.content


def picture_of(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        return opened


def test_images_are_the_prompts_and_the_seeds(client: Client) -> None:
    urls = [client.finish(seed=seed)["output"][0] for seed in (5, 5, 6)]
    one, two, other = map(download, urls)
    assert one == two != other
    assert picture_of(one).format == "WEBP"
    assert len({download(client.finish()["output"][0]) for _ in range(3)}) == 3
    assert requests.get(urls[0].replace("out-0", "out-1"), timeout=60).status_code == 404


def test_garbage_comes_by_words_or_by_rate(client: Client, emulator: ReplicateEmulator) -> None:
    page = requests.get(client.finish("a garbage-html fox")["output"][0], timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    with pytest.raises(UnidentifiedImageError):
        picture_of(page.content)
    truncated = download(client.finish("a garbage-truncated fox")["output"][0])
    with pytest.raises(OSError):  # noqa: PT011 - each decoder has words of its own
        picture_of(truncated)
    black = picture_of(download(client.finish("garbage-black")["output"][0])).convert("L")
    assert black.getextrema() == (0, 0)
    assert download(client.finish("garbage-empty")["output"][0]) == b""
    emulator.set_faults(garbage_rate=1.0)
    client.finish()
    assert emulator.predictions[-1].garbage


def test_the_output_has_the_shape_asked_for(client: Client, emulator: ReplicateEmulator) -> None:
    (url,) = client.finish(seed=1)["output"]
    for shape, hold_out in OUTPUT_SHAPES.items():
        emulator.set_faults(output_shape=shape)
        shown = client.read("/v1/predictions")["results"][0]["output"]
        assert shown == hold_out(url)
    emulator.set_faults(output_shape="string", output_inline=True)
    inline = client.read("/v1/predictions")["results"][0]["output"]
    assert base64.b64decode(inline.partition(",")[2]) == download(url)


# -- the account, as it is listed -------------------------------------------------------------


def test_lists_come_newest_first_in_pages_of_a_hundred(client: Client) -> None:
    created = [client.create("crash-the-model").json()["id"] for _ in range(205)]
    page = client.read("/v1/predictions")
    sizes, seen = [], []
    while True:
        sizes.append(len(page["results"]))
        seen += [item["id"] for item in page["results"]]
        if not page["next"]:
            break
        page = client.get(page["next"], timeout=60).json()
    assert sizes == [100, 100, 5]
    assert seen == created[::-1]


def test_lists_can_be_bounded_in_time_or_ignore_it(
    emulator: ReplicateEmulator, client: Client
) -> None:
    made = []
    for _ in range(3):
        made.append(client.create("crash-the-model").json())
        time.sleep(0.01)
    middle = made[1]["created_at"]
    after = client.read(f"/v1/predictions?created_after={middle}")["results"]
    before = client.read(f"/v1/predictions?created_before={middle}")["results"]
    assert [len(after), len(before)] == [2, 1]
    emulator.set_faults(list_ignores_bounds=True)
    assert len(client.read(f"/v1/predictions?created_before={middle}")["results"]) == 3


def test_list_items_leave_out_the_logs_and_more_on_demand(
    emulator: ReplicateEmulator, client: Client
) -> None:
    client.finish()
    item = client.read("/v1/predictions")["results"][0]
    assert (item["status"], item["input"], "logs" in item) == (
        "succeeded", {"prompt": "a fox"}, False
    )  # fmt: skip
    emulator.set_faults(list_omits="logs,input,output")
    assert "input" not in client.read("/v1/predictions")["results"][0]
    emulator.set_faults(data_removed=True, list_omits="")
    item = client.read("/v1/predictions")["results"][0]
    assert (item["data_removed"], item["input"], item["output"]) == (True, {}, None)
    emulator.set_faults(list_refusal=405)
    assert client.get(f"{client.base}/v1/predictions", timeout=60).status_code == 405


def test_others_predictions_are_listed_between_our_own(
    emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(foreign_per_minute=6000)
    ours = client.create().json()["id"]
    first = client.read("/v1/predictions")
    second = client.get(first["next"], timeout=60).json()
    items = [*first["results"], *second["results"]]
    times = [item["created_at"] for item in items]
    assert len(items) == 200
    assert times == sorted(times, reverse=True)
    assert ours in [item["id"] for item in items]
    theirs = next(item for item in items if item["id"] != ours)
    assert client.read(f"/v1/predictions/{theirs['id']}")["created_at"] == theirs["created_at"]


def test_a_wrong_clock_shows_in_every_time(emulator: ReplicateEmulator, client: Client) -> None:
    emulator.set_faults(clock_ahead_seconds=-7200)
    answer = client.create()
    told = parsedate_to_datetime(answer.headers["Date"])
    made = datetime.fromisoformat(answer.json()["created_at"])
    assert abs((made - told).total_seconds()) < 60
    assert (datetime.now(UTC) - told).total_seconds() > 7000
    bound = f"{told.replace(second=0):%Y-%m-%dT%H:%M:%SZ}"
    assert client.read(f"/v1/predictions?created_after={bound}")["results"]


# -- webhooks -------------------------------------------------------------------------------


class Received(NamedTuple):
    headers: dict[str, str]
    body: str
    at: float


class Receiver(Emulator[Faults]):
    """Keep the webhooks that come; answer them with `statuses`, then 200."""

    name = "receiver"
    faults_class = Faults

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.statuses: list[int] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/hook", self._receive)]

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.received.append(Received(headers, await request.text(), time.time()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": f"{self.url}/elsewhere"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def completed(receiver: Receiver, client: Client, prompt: str = "a fox") -> Any:
    return client.create(
        prompt, webhook=f"{receiver.url}/hook?job=7", webhook_events_filter=["completed"]
    ).json()


def validate(one: Received) -> None:
    secret = WebhookSigningSecret(key=SANDBOX_WEBHOOK_SECRET)
    Webhooks.validate(headers=one.headers, body=one.body, secret=secret)


def test_signatures_equal_the_published_ones() -> None:
    published = {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX": "/485aUtxlie+TIScVpHggMfqOB4so2KWb7+Gf727B44=",
    }
    for secret, signature in published.items():
        signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
        assert signed == f"v1,{signature}"


def test_every_end_is_told_with_the_prediction_and_a_valid_signature(
    receiver: Receiver, client: Client
) -> None:
    created = [completed(receiver, client, prompt) for prompt in ("a fox", "nude", "never-ending")]
    client.post(created[2]["urls"]["cancel"], timeout=60)
    until(lambda: len(receiver.received) == 3)
    bodies = {body["id"]: body for body in (json.loads(one.body) for one in receiver.received)}
    told = [bodies[each["id"]] for each in created]
    assert [body["status"] for body in told] == ["succeeded", "failed", "canceled"]
    assert told == [client.read(f"/v1/predictions/{each['id']}") for each in created]
    for one in receiver.received:
        validate(one)


def test_a_failed_delivery_is_repeated_under_the_same_id(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    receiver.statuses = [500, 302]
    completed(receiver, client)
    until(lambda: len(emulator.deliveries) == 3)
    time.sleep(0.3)
    assert {call.path for call in receiver.calls} == {"/hook"}
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert [(d.attempt, d.status) for d in emulator.deliveries] == [(1, 500), (2, 302), (3, 200)]


def test_a_webhook_may_be_lost(
    receiver: Receiver, emulator: ReplicateEmulator, client: Client
) -> None:
    emulator.set_faults(webhook_lost_rate=1.0)
    completed(receiver, client)
    until(lambda: len(emulator.deliveries) == 1)
    assert (receiver.received, emulator.deliveries[0].fault) == ([], "lost")
