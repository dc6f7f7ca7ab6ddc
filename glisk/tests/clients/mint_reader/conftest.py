"""A reader of a node that answers by a script."""

from __future__ import annotations

import pytest

from glisk.clients.http import HttpOptions
from glisk.clients.mint_reader import MintReader
from glisk.clients.rpc import RpcClient
from glisk.tests.clients.mint_reader.stage import CONTRACT, KEY, TOPIC
from glisk.tests.clients.scripted_server import ScriptedServer


@pytest.fixture
def reader(server: ScriptedServer) -> MintReader:
    rpc = RpcClient(f"{server.url}/v2/{KEY}", options=HttpOptions(read_timeout_seconds=60))
    return MintReader(rpc, contract_address=CONTRACT, topic=TOPIC, chain_id=8453)
