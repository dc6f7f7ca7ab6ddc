"""Every refusal that the emulators can give comes with the advice that mends it, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from glisk.breaker import FAILURES_TO_OPEN, Breaker
from glisk.clients.chain import RpcClient
from glisk.clients.ipfs import GatewayClient, PinataClient
from glisk.clients.opensea import OpenSeaClient
from glisk.clients.replicate import ReplicateClient
from glisk.clients.selfhosted import SelfhostedClient
from glisk.console.overview.causes import find_causes
from glisk.errors import ProviderError
from glisk.tests.clients.scripted_server import ScriptedServer, answer
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


Provoke = Callable[["Street"], None]


@dataclass
class Street:
    """Where all the vendors are."""

    vendors: Vendors
    cog: CogEmulator
    opensea: OpenSeaEmulator
    node: ScriptedServer


@pytest.fixture
def street(vendors: Vendors) -> Iterator[Street]:
    node = ScriptedServer()
    with CogEmulator(painter=Painter(image_size=96)) as cog, OpenSeaEmulator() as opensea:
        yield Street(vendors, cog, opensea, node)
    node.close()


def replicate(*, model: str = MODEL, token: str = SANDBOX_TOKEN, **faults: Any) -> Provoke:
    def call(street: Street) -> None:
        street.vendors.replicate.set_faults(**faults)
        base_url = street.vendors.replicate.url
        client = ReplicateClient(api_token=token, model=model, base_url=base_url)
        for _ in range(2):
            client.create_prediction(input={"prompt": "a fox"}, webhook_url=None)

    return call


def listing(**faults: Any) -> Provoke:
    def call(street: Street) -> None:
        street.vendors.replicate.set_faults(**faults)
        next(ReplicateClient.from_settings().prediction_pages())

    return call


def pinata(*, jwt: str = SANDBOX_JWT, **faults: Any) -> Provoke:
    def call(street: Street) -> None:
        street.vendors.pinata.set_faults(**faults)
        client = PinataClient(base_url=street.vendors.pinata.url, jwt=jwt)
        about: dict[str, Any] = {"name": "a", "content_type": "text/plain", "keyvalues": {}}
        for data in (b"1", b"2"):
            client.pin_file(data=data, cid_version=1, **about)

    return call


def opensea(key: str = "sandbox-opensea-key", **faults: Any) -> Provoke:
    def call(street: Street) -> None:
        street.opensea.set_faults(**faults)
        contract = "0x" + "1" * 40
        OpenSeaClient(
            base_url=street.opensea.url, api_key=key, network="LOCAL", contract_address=contract
        ).refresh(1)

    return call


def selfhosted(**faults: Any) -> Provoke:
    def call(street: Street) -> None:
        street.cog.set_faults(**faults)
        SelfhostedClient(base_url=street.cog.url, max_image_bytes=10**6).create_prediction(
            input={"prompt": "a fox", "seed": 1}, prediction_id="p1"
        )

    return call


def gateway(*, token: str = "", **faults: Any) -> Provoke:
    def call(street: Street) -> None:
        with GatewayEmulator(store=street.vendors.store, token=token) as emulator:
            emulator.set_faults(**faults)
            GatewayClient(gateways=[emulator.url]).fetch_verified(CID, max_bytes=100)

    return call


def node(status: int, code: int, message: str) -> Provoke:
    def call(street: Street) -> None:
        error = {"code": code, "message": message}
        street.node.script(answer(status, {"jsonrpc": "2.0", "id": 1, "error": error}))
        RpcClient(street.node.url).call("eth_blockNumber", [])

    return call


def low_credit(street: Street) -> None:
    """What Replicate says to an account with less than five dollars."""
    said = (
        "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests "
        "per minute with a burst of 1 requests while you have less than $5.0 in credit."
    )
    street.node.script(answer(429, {"detail": said, "status": 429}))
    client = ReplicateClient(api_token=SANDBOX_TOKEN, model=MODEL, base_url=street.node.url)
    client.create_prediction(input={"prompt": "a fox"}, webhook_url=None)


DOWN: dict[str, Any] = {"server_error_rate": 1.0, "server_error_status": 503}
LIMITED: dict[str, Any] = {"throttle_rate": 1.0}

REFUSALS = [
    ("replicate", replicate(account_refusal="insufficient_credit"), "Buy credit"),
    ("replicate", replicate(account_refusal="spend_limit"), "raise the spend limit"),
    ("replicate", replicate(account_refusal="invalid_version"), "Correct REPLICATE_MODEL_VERSION"),
    ("replicate", low_credit, "at the pace that Replicate bears"),
    ("replicate", replicate(token="r8_" + "1" * 37), "Set a valid REPLICATE_API_TOKEN"),
    ("replicate", replicate(model="nobody/nothing"), "Correct REPLICATE_MODEL_VERSION"),
    ("replicate", replicate(creations_per_minute=1), "at the pace that Replicate bears"),
    ("replicate", replicate(**DOWN), "Replicate's status page"),
    ("replicate", replicate(drop_before_rate=1.0), "Replicate's status page"),
    ("replicate", replicate(server_error_rate=1.0, server_error_status=521), "status page"),
    ("replicate", replicate(server_error_rate=1.0, server_error_status=403), "forbids it"),
    *(
        ("replicate_listing", listing(list_refusal=status), "list predictions?")
        for status in (401, 403, 404, 405)
    ),
    ("replicate_listing", listing(list_refusal=500), "go on by themselves"),
    ("replicate_reads", listing(list_refusal=401), "read predictions?"),
    ("replicate_reads", listing(list_refusal=503), "Replicate's status page"),
    ("pinata", pinata(jwt="a.b.c" * 9), "Create a key with the legacy pinning scopes"),
    ("pinata", pinata(key_revoked=True), "Create a key with the legacy pinning scopes"),
    ("pinata", pinata(no_scopes=True), "The key lacks pinFileToIPFS"),
    ("pinata", pinata(plan_limit_reached=True), "The plan is full"),
    ("pinata", pinata(requests_per_minute=1), "at the pace that Pinata bears"),
    ("pinata", pinata(**DOWN), "Pinata's status page"),
    ("opensea", opensea("another key"), "Correct OPENSEA_API_KEY"),
    ("opensea", opensea(**LIMITED), "asked again by itself"),
    ("opensea", opensea(**DOWN), "asked again by itself"),
    ("selfhosted", selfhosted(takes_seed=False), "takes no prompt and seed"),
    ("selfhosted", selfhosted(ready=False), "/health-check"),
    ("selfhosted", selfhosted(**DOWN), "/health-check"),
    ("gateway", gateway(token="secret-of-the-gateway"), "set PINATA_GATEWAY_TOKEN"),
    ("gateway", gateway(**DOWN), "a second one in PINATA_GATEWAY"),
    ("gateway", gateway(**LIMITED), "a second one in PINATA_GATEWAY"),
    ("rpc", node(401, -32600, "Must be authenticated!"), "correct RPC_URL or"),
    ("rpc", node(403, -32600, "Monthly capacity limit exceeded."), "correct RPC_URL or"),
    ("rpc", node(200, -32600, "Must be authenticated!"), "correct RPC_URL or"),
    ("rpc", node(429, 429, "compute units per second exceeded"), "asked more slowly"),
    ("chain", node(200, -32016, "over rate limit"), "asked more slowly"),
    ("chain", node(200, -32000, "tip below 1 gwei, has 0 ETH. Send"), "Is the node of RPC_URL up?"),
    ("rpc", node(503, -32011, "no backend is currently healthy"), "Is the node of RPC_URL up?"),
]


@pytest.mark.parametrize(("name", "provoke", "advice"), REFUSALS)
def test_a_refusal_is_told_with_what_mends_it(
    street: Street, name: str, provoke: Provoke, advice: str
) -> None:
    with pytest.raises(ProviderError) as refused:
        provoke(street)
    for _ in range(FAILURES_TO_OPEN):
        Breaker(name).failed(refused.value)
    (told,) = [cause for cause in find_causes() if cause.name == name]
    assert advice in told.advice, told.reason
    assert " | " not in told.reason, "our general hint stands beside the better advice"
