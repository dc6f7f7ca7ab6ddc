"""The Alchemy emulator at work: from a mined block to the receiver, through reorgs and outages.

What each of its faults does to the program is tested with the webhooks.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glisk.tests.waiting import eventually
from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.alchemy.emulator import (
    SANDBOX_SIGNING_KEY,
    AlchemyEmulator,
    block_event,
    render,
    sign,
    transaction_fields,
)
from sandbox.chain import DemoChain
from sandbox.node import Node
from sandbox.tests.nodes import deployed_chain, running_node
from sandbox.tests.webhook_receiver import Receiver

AUTHOR = AUTHORS[0].address
SAMPLE = Path(__file__).parent / "data" / "alchemy_graphql_sample.json"
SAMPLE_SIGNATURE = "7b554b036e35642fb94d057160f16c070356cbce3938da7d666c857dda6e1088"

pytestmark = pytest.mark.usefixtures("anvil_binary")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def chain() -> Iterator[DemoChain]:
    with running_node() as node:
        yield deployed_chain(node)


@contextmanager
def emulator(chain: DemoChain, receiver: Receiver, **options: Any) -> Iterator[AlchemyEmulator]:
    options = {"retry_seconds": (0.05, 0.05, 0.05), **options}
    with AlchemyEmulator(rpc_url=chain.rpc_url, target=receiver.target, **options) as running:
        yield running


def mint(chain: DemoChain, quantity: int = 1) -> int:
    """Mint and return the block's number."""
    return int(chain.wait(chain.mint(1, AUTHOR, quantity))["blockNumber"])


def blocks(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """Return the blocks that were told of once there are `count` of them."""
    eventually(lambda: len(receiver.received) >= count)
    return [one.message["event"]["data"]["block"] for one in receiver.received]


def test_a_mint_is_notified_signed_and_true_to_the_chain(
    chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(chain, receiver):
        chain.wait(chain.reveal(9, [1], ["ipfs://x"]))  # is no news
        mint(chain, 2)
        (block,) = blocks(receiver, 1)
    (one,), (truth,), (log,) = receiver.received, chain.mints(), block["logs"]
    assert one.headers["x-alchemy-signature"] == sign(SANDBOX_SIGNING_KEY, one.body)
    found = (block["hash"], block["number"], block["timestamp"], log["index"])
    assert found == (truth.block_hash, truth.block_number, truth.block_timestamp, truth.log_index)
    assert log["account"]["address"] == chain.contract.address.lower()
    assert int(log["topics"][3], 16) == truth.start_token_id
    assert int(log["data"][2:66], 16) == truth.quantity
    assert log["transaction"] == {
        "hash": truth.tx_hash,
        "index": 0,
        "from": {"address": COLLECTORS[0].address.lower()},
        "to": {"address": chain.contract.address.lower()},
        "status": 1,
    }


def test_any_answer_but_200_is_retried_with_the_same_bytes_until_the_schedule_ends(
    chain: DemoChain, receiver: Receiver
) -> None:
    receiver.statuses = [201, 302, 401, 500]
    with emulator(chain, receiver) as alchemy:
        mint(chain)
        eventually(lambda: len(receiver.received) == 4)
        eventually(lambda: alchemy.oldest_pending_block() is None)
    assert receiver.statuses == []
    assert len({one.body for one in receiver.received}) == 1


def test_a_reorg_brings_a_new_notification_unless_it_dropped_the_mint(
    chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(chain, receiver) as alchemy:
        mint(chain)
        (old,) = blocks(receiver, 1)
        chain.reorg(1, keep=[(old["logs"][0]["transaction"]["hash"], 0)])
        new = blocks(receiver, 2)[1]
        chain.reorg(1)
        chain.mine()
        eventually(lambda: alchemy.watcher.head == chain.block_number())
        after = mint(chain)
        numbers = [block["number"] for block in blocks(receiver, 3)]
    assert new["hash"] != old["hash"]
    assert numbers == [old["number"], old["number"], after]
    first, second = (one.message for one in receiver.received[:2])
    assert first["id"] != second["id"]
    assert int(first["event"]["sequenceNumber"]) < int(second["event"]["sequenceNumber"])


def test_nothing_is_missed_while_the_node_or_the_emulator_is_away(
    receiver: Receiver, tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor.json"
    with Node(port=0, block_time=0, state_file=tmp_path / "chain.json") as node:
        chain = deployed_chain(node)
        with emulator(chain, receiver, cursor_file=cursor):
            minted = [mint(chain)]
            blocks(receiver, 1)
            node.checkpoint()
            node.kill()
            node.start()
            minted.append(mint(chain))
            blocks(receiver, 2)
            chain.mine(3)
        minted.append(mint(chain))
        with emulator(chain, receiver, cursor_file=cursor):
            found = [block["number"] for block in blocks(receiver, 3)]
    # What was on its way when the emulator ended may be sent again.
    assert list(dict.fromkeys(found)) == minted


def test_a_rebuilt_sample_has_the_samples_bytes_and_signature() -> None:
    """From the RPC's answers for the sample's block we make the sample, but for the clock."""
    assert sign("whsec_test", SAMPLE.read_bytes()) == SAMPLE_SIGNATURE
    sample = json.loads(SAMPLE.read_text())
    del sample["event"]["network"]  # which older messages do not have
    block = sample["event"]["data"]["block"]
    (log,) = block["logs"]
    tx_hash = log["transaction"]["hash"]
    contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    sender = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
    header = {"hash": block["hash"], "number": hex(block["number"])}
    mint_log = {"data": log["data"], "topics": log["topics"], "logIndex": hex(log["index"])}
    transaction = transaction_fields(
        {"hash": tx_hash, "from": sender, "to": contract},
        {"transactionIndex": "0x0", "status": "0x1"},
    )
    event = block_event(
        {**header, "timestamp": hex(block["timestamp"])},
        [{**mint_log, "address": contract, "transactionHash": tx_hash}],
        {tx_hash: transaction},
        10000000000578619000,
    )
    body = json.loads(render(sample["webhookId"], sample["id"], event))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", body["createdAt"])
    body["createdAt"] = sample["createdAt"]
    assert json.dumps(body) == json.dumps(sample)
