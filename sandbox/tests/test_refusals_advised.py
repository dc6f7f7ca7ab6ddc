"""Every refusal that the emulators can give comes with the advice that mends it, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.test import override_settings

from glisk.breaker import FAILURES_TO_OPEN, Breaker
from glisk.clients.chain import RpcClient
from glisk.clients.ipfs import GatewayClient, PinataClient
from glisk.clients.opensea import OpenSeaClient
from glisk.clients.replicate import ReplicateClient
from glisk.clients.selfhosted import SelfhostedClient
from glisk.console.overview.causes import find_causes
from glisk.errors import ProviderError
from glisk.tests.clients.scripted_server import ScriptedServer, Step, answer
from reveals.tests.opensea_emulator import OpenSeaEmulator
from sandbox.cog.emulator import CogEmulator
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.paint import Painter
from sandbox.pinata.emulator import SANDBOX_JWT
from sandbox.replicate.emulator import SANDBOX_TOKEN
from tokens.tests.conftest import _vendors, vendors
from tokens.tests.stage import Vendors

__all__ = ["_vendors", "vendors"]

pytestmark = pytest.mark.django_db

MODEL = "black-forest-labs/flux-schnell"
CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"


Street = dict[str, Any]  # where all the vendors are


@pytest.fixture
def street(vendors: Vendors) -> Iterator[Street]:
    node = ScriptedServer()
    with (
        CogEmulator(painter=Painter(image_size=96)) as cog,
        OpenSeaEmulator() as opensea,
        GatewayEmulator(store=vendors.store, token="of-the-gateway") as closed,
    ):
        places = {name: getattr(vendors, name) for name in ("replicate", "pinata", "gateway")}
        yield {**places, "cog": cog, "opensea": opensea, "closed gateway": closed, "node": node}
    node.close()


def create(emulator: Any, model: str = MODEL, token: str = SANDBOX_TOKEN) -> None:
    with override_settings(
        REPLICATE_BASE_URL=emulator.url, REPLICATE_MODEL_VERSION=model, REPLICATE_API_TOKEN=token
    ):
        client = ReplicateClient()
    for _ in range(2):
        client.create_prediction(input={"prompt": "a fox"}, webhook_url=None)


def read_list(_emulator: Any) -> None:
    next(ReplicateClient().prediction_pages())


def pin(emulator: Any, jwt: str = SANDBOX_JWT) -> None:
    with override_settings(PINATA_API_URL=emulator.url, PINATA_JWT=jwt):
        client = PinataClient()
    about: dict[str, Any] = {"name": "a", "content_type": "text/plain", "keyvalues": {}}
    for data in (b"1", b"2"):
        client.pin_file(data=data, cid_version=1, **about)


def refresh(emulator: Any, key: str = "sandbox-opensea-key") -> None:
    with override_settings(OPENSEA_API_URL=emulator.url, OPENSEA_API_KEY=key):
        OpenSeaClient().refresh(1)


def predict(emulator: Any) -> None:
    with override_settings(SELFHOSTED_IMAGE_API_URL=emulator.url):
        client = SelfhostedClient()
    client.create_prediction(input={"prompt": "a fox", "seed": 1}, prediction_id="p1")


def fetch(emulator: Any) -> None:
    with override_settings(PINATA_GATEWAY=[emulator.url]):
        GatewayClient().fetch_verified(CID, max_bytes=100)


def ask(node: Any) -> None:
    RpcClient(node.url).call("eth_blockNumber", [])


def refused(status: int, code: int, message: str) -> Step:
    error = {"code": code, "message": message}
    return answer(status, {"jsonrpc": "2.0", "id": 1, "error": error})


# What Replicate says to an account with less than five dollars.
LOW_CREDIT = (
    "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests "
    "per minute with a burst of 1 requests while you have less than $5.0 in credit."
)
DOWN = {"server_error_rate": 1.0, "server_error_status": 503}
LIMITED = {"throttle_rate": 1.0}
AT_REPLICATES_PACE = "at the pace that Replicate bears"
NEW_KEY = "Create a key with the legacy pinning scopes"
# By breaker and place: the call, the vendor's faults or the node's answer, and the advice.
REFUSALS: dict[tuple[str, str], list[tuple[Callable[[Any], None], Any, str]]] = {
    ("replicate", "replicate"): [
        (create, {"account_refusal": "insufficient_credit"}, "Buy credit"),
        (create, {"account_refusal": "spend_limit"}, "raise the spend limit"),
        (create, {"account_refusal": "invalid_version"}, "Correct REPLICATE_MODEL_VERSION"),
        (partial(create, token="r8_" + "1" * 37), {}, "Set a valid REPLICATE_API_TOKEN"),
        (partial(create, model="nobody/nothing"), {}, "Correct REPLICATE_MODEL_VERSION"),
        (create, {"creations_per_minute": 1}, AT_REPLICATES_PACE),
        (create, DOWN, "Replicate's status page"),
        (create, {"drop_before_rate": 1.0}, "Replicate's status page"),
        (create, {"server_error_rate": 1.0, "server_error_status": 521}, "status page"),
        (create, {"server_error_rate": 1.0, "server_error_status": 403}, "forbids it"),
    ],
    ("replicate", "node"): [
        (create, answer(429, {"detail": LOW_CREDIT, "status": 429}), AT_REPLICATES_PACE),
    ],
    ("replicate_listing", "replicate"): [
        *(
            (read_list, {"list_refusal": status}, "list predictions?")
            for status in (401, 403, 404, 405)
        ),
        (read_list, {"list_refusal": 500}, "go on automatically"),
    ],
    ("replicate_reads", "replicate"): [
        (read_list, {"list_refusal": 401}, "read predictions?"),
        (read_list, {"list_refusal": 503}, "Replicate's status page"),
    ],
    ("pinata", "pinata"): [
        (partial(pin, jwt="a.b.c" * 9), {}, NEW_KEY),
        (pin, {"key_revoked": True}, NEW_KEY),
        (pin, {"no_scopes": True}, "The key lacks pinFileToIPFS"),
        (pin, {"plan_limit_reached": True}, "The plan is full"),
        (pin, {"requests_per_minute": 1}, "at the pace that Pinata bears"),
        (pin, DOWN, "Pinata's status page"),
    ],
    ("opensea", "opensea"): [
        (partial(refresh, key="another key"), {}, "Correct OPENSEA_API_KEY"),
        (refresh, LIMITED, "asked again automatically"),
        (refresh, DOWN, "asked again automatically"),
    ],
    ("selfhosted", "cog"): [
        (predict, {"takes_seed": False}, "takes no prompt and seed"),
        (predict, {"ready": False}, "/health-check"),
        (predict, DOWN, "/health-check"),
    ],
    ("gateway", "closed gateway"): [(fetch, {}, "Set PINATA_GATEWAY_TOKEN")],
    ("gateway", "gateway"): [
        (fetch, DOWN, "a second one in PINATA_GATEWAY"),
        (fetch, LIMITED, "a second one in PINATA_GATEWAY"),
    ],
    ("rpc", "node"): [
        (ask, refused(401, -32600, "Must be authenticated!"), "correct RPC_URL or"),
        (ask, refused(403, -32600, "Monthly capacity limit exceeded."), "correct RPC_URL or"),
        (ask, refused(200, -32600, "Must be authenticated!"), "correct RPC_URL or"),
        (ask, refused(429, 429, "compute units per second exceeded"), "asked more slowly"),
        (ask, refused(503, -32011, "no backend is healthy"), "Is the node of RPC_URL up?"),
    ],
    ("chain", "node"): [
        (ask, refused(200, -32016, "over rate limit"), "asked more slowly"),
        (ask, refused(200, -32000, "tip below 1 gwei, has 0 ETH"), "Is the node of RPC_URL up?"),
    ],
}


@pytest.mark.parametrize(
    ("name", "place", "call", "fault", "advice"),
    [(*where, *each) for where, refusals in REFUSALS.items() for each in refusals],
)
def test_a_refusal_is_told_with_what_mends_it(
    street: Street, name: str, place: str, call: Callable[[Any], None], fault: Any, advice: str
) -> None:
    vendor = street[place]
    if isinstance(fault, dict):
        vendor.set_faults(**fault)
    else:
        vendor.script(fault)
    with pytest.raises(ProviderError) as error:
        call(vendor)
    for _ in range(FAILURES_TO_OPEN):
        Breaker(name).failed(error.value)
    (told,) = [cause for cause in find_causes() if cause.name == name]
    assert advice in told.advice, told.reason
    assert " | " not in told.reason, "our general hint stands beside the better advice"
