"""Nodes that lag, forget or contradict themselves withdraw nothing."""

from __future__ import annotations

from typing import Any

import pytest

from glisk.clients.chain import SELECTORS, ChainClient
from sandbox.accounts import AUTHORS
from sandbox.chain import DemoChain
from tokens.minting.mint_log import MintLog
from tokens.minting.registration import register_mints
from tokens.models import MintEvent
from tokens.models.mint import MintSource
from tokens.recovery import backfill
from tokens.recovery.proof import prove
from tokens.recovery.reorgs import ReorgReport
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.node_proxy import NodeProxy, no_logs_at_all
from tokens.tests.recovery.stage import (
    FOX,
    LIGHTHOUSE,
    look,
    look_until_sure,
    mint,
    states,
    told_by_webhook,
)

pytestmark = pytest.mark.django_db


def test_a_token_that_the_contract_knows_is_not_withdrawn_for_a_missing_log(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """The node has lost its logs and its receipts, and calls another block by our number."""
    mint(chain, FOX, 2)
    look(bad_reader)
    lost: dict[str, object] = {"eth_getLogs": [], "eth_getTransactionReceipt": None}

    def alter(method: str, params: list[object], answer: dict[str, object]) -> object:
        if method == "eth_getBlockByNumber" and params[0] != "latest":
            block = answer["result"]
            assert isinstance(block, dict)
            return {**answer, "result": {**block, "hash": "0x" + "ab" * 32}}
        return {**answer, "result": lost[method]} if method in lost else answer

    proxy.alter = alter
    for _ in range(3):
        chain.mine(3)
        assert look(bad_reader).retired == []
    proxy.calm()
    assert look(bad_reader).suspected == []
    assert_equal_to_chain(chain)


def test_a_node_that_is_stuck_on_an_old_fork_withdraws_nothing(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """Everything that it says is of a chain that has long been left: only its head tells."""
    chain.mine(20)
    mint(chain, FOX, 2)
    look(bad_reader)
    stuck_at = hex(chain.block_number() - 10)
    reverted = {"code": 3, "message": "execution reverted", "data": "0x7e273289"}

    def alter(method: str, params: list[Any], answer: dict[str, Any]) -> Any:
        if method == "eth_getBlockByNumber":
            number = stuck_at if params[0] == "latest" else params[0]
            block = {**answer["result"], "number": number, "hash": "0x" + "ab" * 32}
            return {**answer, "result": block}
        if method == "eth_call" and params[0]["data"] != SELECTORS["nextTokenId"]:
            return {"jsonrpc": "2.0", "id": answer["id"], "error": reverted}
        old: dict[str, Any] = {
            "eth_getLogs": [],
            "eth_getTransactionReceipt": None,
            "eth_call": f"0x{1:064x}",
        }
        return {**answer, "result": old[method]} if method in old else answer

    proxy.alter = alter
    for _ in range(3):
        assert look(bad_reader) == ReorgReport()
        chain.mine(3)
        stuck_at = hex(int(stuck_at, 16) + 1)  # it goes on, by itself
    proxy.calm()
    assert_equal_to_chain(chain)


def test_a_changed_contract_address_withdraws_nothing(
    chain: DemoChain, reader: ChainClient
) -> None:
    """A mistake in the settings must not empty the database."""
    mint(chain, FOX, 2)
    told_by_webhook(chain)
    look(reader)
    other = DemoChain(chain.rpc_url, contract_address=AUTHORS[2].address)
    other._bind(_deploy_another(chain))
    reader.contract_address = other.contract.address
    for _ in range(3):
        chain.mine(8)
        scan_chain(reader)
    assert len(states()) == 2
    prove(reader, budget_seconds=600)
    assert len(states()) == 2


def _deploy_another(chain: DemoChain) -> str:
    """Deploy the contract a second time; return its address."""
    source = chain._artefact
    factory = chain.w3.eth.contract(abi=source["abi"], bytecode=source["bytecode"])
    creation = factory.constructor("Other", "O", "uri", 1).build_transaction(
        {"gas": 0, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, "chainId": 0}
    )
    receipt = chain.wait(chain.send_raw(0, data=str(creation["data"]), gas=6_000_000))
    return str(receipt["contractAddress"])


def test_a_faulty_settlement_does_not_keep_new_mints_waiting(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    tx_hash = mint(chain, FOX)
    chain.mine(1)
    look(bad_reader)
    chain.reorg(2, keep=[(tx_hash, 1)])
    mint(chain, LIGHTHOUSE)
    proxy.alter = lambda method, params, answer: (
        {**answer, "result": "nonsense"} if method == "eth_getTransactionReceipt" else answer
    )
    with pytest.raises(Exception, match="receipt"):
        look(bad_reader)
    assert sorted(states()) == [1, 2]


def test_what_a_webhook_invented_does_not_last(chain: DemoChain, reader: ChainClient) -> None:
    """A well signed mint in a canonical block, of a transaction that the chain does not know."""
    mint(chain, FOX)
    (real,) = told_by_webhook(chain)
    forged = MintLog(
        **{**vars(real), "tx_hash": f"0x{9:064x}", "start_token_id": 2, "log_index": 7}
    )
    register_mints([forged], source=MintSource.WEBHOOK, actor="webhook")
    assert sorted(states()) == [1, 2]
    chain.mine(backfill.settled_depth())
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)


def test_a_mint_is_settled_by_its_receipt_where_the_node_gives_no_logs(
    chain: DemoChain, bad_reader: ChainClient, proxy: NodeProxy
) -> None:
    """Each look failed, and after three of them the node counted as down for the reveals too."""
    mint(chain, FOX, 2)
    told_by_webhook(chain)
    chain.mine(backfill.settled_depth())
    proxy.alter = no_logs_at_all
    look(bad_reader)
    assert not MintEvent.objects.filter(settled_at=None).exists()
    assert_equal_to_chain(chain)
