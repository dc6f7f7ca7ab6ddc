"""Reveals that make no sense: the contract takes any id, and none of them may stop the reading."""

import io
from typing import Any

import pytest
from django.core.management import call_command

from glisk.clients.chain import ChainClient
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.chain import DemoChain
from tokens.models import Token
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy

pytestmark = pytest.mark.django_db

URI = "ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"


@pytest.mark.parametrize("token_id", [2**31, 2**63, 2**256 - 1])
def test_a_reveal_of_an_id_that_no_column_holds_stops_nothing(
    chain: DemoChain, reader: ChainClient, token_id: int
) -> None:
    chain.wait(chain.mint(1, AUTHORS[0].address, 2))
    reveal = chain.reveal(KEEPER.private_key, [token_id, 1], [URI, URI])
    assert chain.wait(reveal)["status"] == 1
    assert scan_chain(reader).mints.adopted == [1]
    chain.wait(chain.mint(1, AUTHORS[1].address))
    call_command("recover_events", "--from-block", "0", stdout=io.StringIO())
    assert_equal_to_chain(chain)
    assert Token.objects.get(pk=1).reveal_tx_hash == reveal


def test_a_reveal_whose_log_names_no_transaction_is_adopted_without_one(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    chain.wait(chain.mint(1, AUTHORS[0].address))
    chain.wait(chain.reveal(KEEPER.private_key, [1], [URI]))

    def alter(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method != "eth_getLogs":
            return answer
        broken = {"transactionHash": None, "blockTimestamp": hex(10**14)}
        return {
            **answer,
            "result": [
                {**log, **broken} if bad_reader.is_reveal(log) else log for log in answer["result"]
            ],
        }

    proxy.alter = alter
    assert scan_chain(bad_reader).mints.adopted == [1]
    token = Token.objects.get()
    assert (token.adopted_uri, token.reveal_tx_hash, token.revealed_at) == (URI, None, None)
