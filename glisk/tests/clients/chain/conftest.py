"""A reader of a node that answers by a script."""

from __future__ import annotations

import pytest

from glisk.clients.chain import ChainClient, RpcClient
from glisk.clients.http import HttpOptions
from glisk.tests.clients.chain.stage import CONTRACT, KEY
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def reader(server: ScriptedServer) -> ChainClient:
    rpc = RpcClient(f"{server.url}/v2/{KEY}", options=HttpOptions(read_timeout_seconds=60))
    return ChainClient(rpc, contract_address=CONTRACT, chain_id=8453)
