"""The vendors' emulators: wire format, call log, bill and faults.

What their refusals and faults do to the program, and more of them, is tested with the program.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import requests
from aiohttp import web
from PIL import Image
from replicate.webhook import Webhooks, WebhookSigningSecret

from glisk.cid import compute_dag
from glisk.tests.waiting import eventually
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.http import SUBJECT, BillEntry, Emulator, FaultPlan, Faults, Kind
from sandbox.paint import Painter
from sandbox.pinata.emulator import SANDBOX_JWT, PinataEmulator
from sandbox.pinata.store import PLACEHOLDER_URI, ContentStore
from sandbox.replicate.emulator import SANDBOX_TOKEN, SANDBOX_WEBHOOK_SECRET, ReplicateEmulator
from sandbox.tests.webhook_receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
FLUX = "/v1/models/black-forest-labs/flux-schnell/predictions"
UTC_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


# --- what all of them have -------------------------------------------------------------------


class ShopEmulator(Emulator[Faults]):
    name = "shop"
    faults_class = Faults

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/orders", self._order)]

    async def _order(self, request: web.Request) -> web.Response:
        key = request[SUBJECT] = await request.text()
        self.bill.add(BillEntry(at=time.time(), subject=key, key=key, price_usd=0.25))
        return web.Response(status=201, text="accepted")


@pytest.fixture
def shop() -> Iterator[ShopEmulator]:
    with ShopEmulator() as emulator:
        yield emulator


def order(shop: ShopEmulator, key: str = "tea") -> int:
    """Return the answer's status, 0 if none came."""
    try:
        return requests.post(f"{shop.url}/orders", data=key, timeout=60).status_code
    except requests.ConnectionError:
        return 0


def test_each_fault_strikes_before_or_after_the_work(shop: ShopEmulator) -> None:
    shop.set_faults(error_after_status=530, server_error_status=503)
    for kind in get_args(Kind):
        shop.plan_fault(kind, scope="^POST /orders$")
    statuses = [order(shop, str(number)) for number in range(6)]
    assert statuses == [429, 503, 0, 0, 530, 201]
    assert [entry.subject for entry in shop.bill.entries] == ["3", "4", "5"]
    assert [(call.fault, call.status) for call in shop.calls] == [
        *zip((*get_args(Kind), ""), statuses, strict=True)
    ]
    shop.script("^POST", {"odd": True}, 202)
    assert order(shop) == 202
    shop.reset()
    assert (order(shop), len(shop.calls), len(shop.bill)) == (201, 1, 1)


def test_faults_come_at_their_rate_and_by_seed() -> None:
    def throttled(**faults: Any) -> list[bool]:
        plan = FaultPlan(Faults(throttle_rate=0.3, **faults))
        return [plan.strike("POST /orders") == "throttle" for _ in range(4000)]

    assert 0.27 < sum(throttled(seed=3)) / 4000 < 0.33
    assert throttled(seed=3) == throttled(seed=3) != throttled(seed=4)
    # Another rate does not move a fault's calls.
    assert throttled(seed=3) == throttled(seed=3, drop_after_rate=0.5)
    assert not any(throttled(scope="^GET"))


def test_faults_calls_and_bill_are_read_and_set_over_http(shop: ShopEmulator) -> None:
    control = f"{shop.url}/_sandbox"
    changes = {"seed": 5, "drop_before_rate": 1.0, "scope": "GET", "latency_seconds": [0, 0.01]}
    told = requests.post(f"{control}/faults", json=changes, timeout=60).json()
    assert {name: told[name] for name in changes} == changes
    unknown = requests.post(f"{control}/faults", json={"throttle_rat": 0.1}, timeout=60)
    assert unknown.status_code == 400
    for key in ("tea", "coffee", "tea"):
        order(shop, key)
    calls = requests.get(f"{control}/calls", timeout=60).json()["calls"]
    assert [(call["subject"], call["size"]) for call in calls] == [
        ("tea", 8), ("coffee", 8), ("tea", 8)
    ]  # fmt: skip
    assert calls[0]["received_at"] <= calls[0]["answered_at"] <= time.time()
    bill = requests.get(f"{control}/bill", timeout=60).json()
    assert (bill["count"], bill["total_usd"], bill["duplicates"]) == (3, 0.75, {"tea": 2})


# --- Replicate -------------------------------------------------------------------------------


class Account(requests.Session):
    """Calls Replicate as its account."""

    def __init__(self, emulator: ReplicateEmulator) -> None:
        super().__init__()
        self.base = emulator.url
        self.headers["Authorization"] = f"Bearer {SANDBOX_TOKEN}"

    def create(self, prompt: str, **body: Any) -> Any:
        body["input"] = {"prompt": prompt, "seed": 4}
        return self.post(self.base + FLUX, json=body, timeout=60).json()

    def read(self, path: str = "") -> Any:
        return self.get(f"{self.base}/v1/predictions{path}", timeout=60).json()

    def ended(self, prediction: Any) -> Any:
        path = f"/{prediction['id']}"
        eventually(lambda: self.read(path)["status"] not in ("starting", "processing"))
        return self.read(path)


@pytest.fixture
def replicate() -> Iterator[ReplicateEmulator]:
    with ReplicateEmulator(
        generation_seconds=0.05, webhook_retry_seconds=0.05, painter=Painter(64)
    ) as running:
        yield running


@pytest.fixture
def account(replicate: ReplicateEmulator) -> Iterator[Account]:
    with Account(replicate) as session:
        yield session


def test_a_prediction_starts_succeeds_and_is_on_the_bill(
    replicate: ReplicateEmulator, account: Account
) -> None:
    created = account.create("a fox")
    assert re.fullmatch(r"[0-9a-z]{26}", created["id"])
    assert UTC_MILLISECONDS.fullmatch(created["created_at"])
    get = f"{replicate.url}/v1/predictions/{created['id']}"
    assert (created["urls"]["get"], created["urls"]["cancel"]) == (get, f"{get}/cancel")
    unset = ("output", "error", "started_at", "completed_at")
    assert [created[name] for name in unset] == [None] * 4
    assert (created["status"], created["version"]) == ("starting", "hidden")

    ended = account.ended(created)
    assert (ended["status"], ended["error"]) == ("succeeded", None)
    assert ended["metrics"]["total_time"] >= ended["metrics"]["predict_time"] >= 0.05
    assert ended["logs"].startswith("Using seed: 4\n")
    (url,) = ended["output"]
    with Image.open(io.BytesIO(requests.get(url, timeout=60).content)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 64))
    account.ended(account.create("a fox"))
    assert [entry.price_usd for entry in replicate.bill.entries] == [0.003] * 2
    assert list(replicate.bill.duplicates().values()) == [2]


def test_lists_come_newest_first_in_pages_of_a_hundred(account: Account) -> None:
    created = [account.create("crash-the-model")["id"] for _ in range(105)]
    first = account.read()
    second = account.get(first["next"], timeout=60).json()
    assert (len(first["results"]), second["next"]) == (100, None)
    assert [item["id"] for item in first["results"] + second["results"]] == created[::-1]


def test_an_end_is_told_signed_and_again_until_it_is_heard(
    replicate: ReplicateEmulator, account: Account
) -> None:
    with Receiver() as receiver:
        receiver.statuses = [500, 302]
        created = account.create("a fox", webhook=receiver.target)
        eventually(lambda: len(replicate.deliveries) == 3)
    assert [(d.attempt, d.status) for d in replicate.deliveries] == [(1, 500), (2, 302), (3, 200)]
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    secret = WebhookSigningSecret(key=SANDBOX_WEBHOOK_SECRET)
    for one in receiver.received:
        Webhooks.validate(headers=one.headers, body=one.body.decode(), secret=secret)
        assert one.message == account.read(f"/{created['id']}")


# --- Pinata and its gateway ------------------------------------------------------------------

CONTENT = b'{"somekey":"somevalue"}'
CIDS = {
    0: "QmWQ5NcRCnDjjq9S87Rjo4RTgSDvmi1djy7SVftoi1T8jd",
    1: "bafkreicjmxc2drbgxtoidx6xfatbffyx46oiyo6ktipss6dhdermwtsoze",
}


def pin(pinata: PinataEmulator, version: int) -> Any:
    return requests.post(
        f"{pinata.url}/pinning/pinFileToIPFS",
        files={"file": ("bild ü.png", CONTENT)},
        data={"pinataOptions": f'{{"cidVersion": {version}}}'},
        headers={"Authorization": f"Bearer {SANDBOX_JWT}"},
        timeout=60,
    ).json()


def test_a_file_is_pinned_under_its_cid_and_served(tmp_path: Path) -> None:
    with (
        PinataEmulator(store=tmp_path, pin_seconds=0.0) as pinata,
        GatewayEmulator(store=tmp_path) as gateway,
    ):
        for version, cid in CIDS.items():
            reply = pin(pinata, version)
            assert set(reply) == {"IpfsHash", "PinSize", "Timestamp"}
            size = compute_dag(CONTENT, version=1 if version else 0).dag_size_bytes
            assert (reply["IpfsHash"], reply["PinSize"]) == (cid, size)
            assert UTC_MILLISECONDS.fullmatch(reply["Timestamp"])
            assert pin(pinata, version) == {**reply, "isDuplicate": True}
            served = requests.get(f"{gateway.url}/ipfs/{cid}", timeout=60)
            assert (served.content, served.headers["Content-Type"]) == (CONTENT, "application/json")
            assert served.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert gateway.calls[-1].subject == cid
        assert pinata.bill.duplicates() == dict.fromkeys(CIDS.values(), 2)
        assert pinata.pins[0].name == "bild ü.png"


def test_what_an_unrevealed_token_points_at_is_served(tmp_path: Path) -> None:
    ContentStore(tmp_path).pin_placeholder()
    uri = PLACEHOLDER_URI
    with GatewayEmulator(store=tmp_path) as gateway:
        for kind in ("application/json", "image/png"):
            assert re.fullmatch("ipfs://[a-zA-Z0-9]+", uri)
            served = requests.get(f"{gateway.url}/ipfs/{uri.removeprefix('ipfs://')}", timeout=60)
            assert (served.status_code, served.headers["Content-Type"]) == (200, kind)
            uri = served.json()["image"] if kind == "application/json" else ""
