"""Some of the random cases by everything that the thousands leave out.

Deliveries are signed and posted to a server, several at the same time; what they say is committed.
The program's own tasks look at the chain, by a client that speaks with a node over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from django.conf import settings
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from glisk.clients.rpc import RevertError, RpcError
from glisk.errors import ProviderError
from glisk.models import SystemState
from tokens.recovery import schedule
from tokens.tests.recovery.model_chain import ModelChain
from tokens.tests.recovery.model_node import ModelNode
from tokens.tests.recovery.node_proxy import HttpAnswer, RpcServer
from webhooks.authentication import sign_alchemy_body
from webhooks.tests.random_case import Case, forget_everything
from webhooks.tests.sending import ALCHEMY_URL
from webhooks.tests.test_random_deliveries import CASES, SEED

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

_CASES = min(CASES, 12)
_AT_ONCE = 3


class ModelServer(RpcServer):
    """The model's node behind a socket."""

    def __init__(self) -> None:
        self.node = ModelNode(ModelChain())
        super().__init__()

    def answer(self, asked: Any) -> Any:
        calls = asked if isinstance(asked, list) else [asked]
        try:
            results = self.node.batch([(call["method"], call["params"]) for call in calls])
        except ProviderError as error:
            raise HttpAnswer(503, {"error": {"message": str(error)}}) from error
        answers = [
            {"jsonrpc": "2.0", "id": call["id"], **_member(result)}
            for call, result in zip(calls, results, strict=True)
            if isinstance(result, RevertError | RpcError) or not isinstance(result, ProviderError)
        ]
        if isinstance(asked, list):
            return answers
        return answers[0] if answers else {}


def _member(result: Any) -> dict[str, Any]:
    if isinstance(result, RevertError):
        return {"error": {"code": 3, "message": "execution reverted", "data": result.data}}
    if isinstance(result, RpcError):
        return {"error": {"code": result.rpc_code, "message": result.rpc_message}}
    return {"result": result}


@pytest.fixture
def node_server(settings: Settings) -> Iterator[ModelServer]:
    server = ModelServer()
    settings.RPC_URL = server.url
    yield server
    schedule._kept_reader.cache_clear()
    server.close()


def post(url: str, body: bytes) -> None:
    """Deliver a body; anything but 200 would make the sender stop in the end."""
    signature = sign_alchemy_body(body, settings.ALCHEMY_WEBHOOK_SECRETS[0])
    headers = {"X-Alchemy-Signature": signature, "Content-Type": "application/json"}
    reply = requests.post(url, data=body, headers=headers, timeout=30)
    assert reply.status_code == (200 if _is_whole(body) else 400), reply.text


def _is_whole(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


@pytest.mark.usefixtures("model_world")
def test_by_sockets_and_at_once_it_ends_the_same(
    live_server: LiveServer, node_server: ModelServer
) -> None:
    def receive(bodies: Sequence[bytes]) -> None:
        list(pool.map(lambda body: post(live_server.url + ALCHEMY_URL, body), bodies))

    def look(node: ModelNode, thorough: bool) -> None:
        node_server.node = node
        SystemState.objects.filter(state_key="breaker:rpc").delete()  # its wait is over
        if thorough:
            schedule.prove_completeness()
        else:
            schedule.look_at_chain()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for seed in range(SEED, SEED + _CASES):
            case = Case(seed, receive=receive, look=look, at_once=_AT_ONCE)
            case.play_to_the_end()
            forget_everything()
