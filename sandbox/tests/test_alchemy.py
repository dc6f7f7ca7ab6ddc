"""The Alchemy emulator at work: from a mined block to the receiver, through every disturbance."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.alchemy.emulator import (
    AlchemyEmulator,
    block_event,
    render,
    sign,
    transaction_fields,
)
from sandbox.chain import DemoChain
from sandbox.node import Node
from sandbox.rpc import ChainWatcher, Header
from sandbox.tests.nodes import deployed_chain, running_node
from sandbox.tests.webhook_receiver import Receiver, running_receiver

AUTHOR = AUTHORS[0].address
FAST_RETRIES = (0.05, 0.05, 0.1, 0.1, 0.2)

SAMPLE = Path(__file__).parent / "data" / "alchemy_graphql_sample.json"
SAMPLE_SIGNATURE = "7b554b036e35642fb94d057160f16c070356cbce3938da7d666c857dda6e1088"

pytestmark = pytest.mark.usefixtures("anvil_binary")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def node() -> Iterator[Node]:
    with running_node() as node:
        yield node


@pytest.fixture
def chain(node: Node) -> DemoChain:
    return deployed_chain(node)


@contextmanager
def emulator(node: Node, receiver: Receiver, **options: Any) -> Iterator[AlchemyEmulator]:
    options = {"retry_seconds": FAST_RETRIES, **options}
    with AlchemyEmulator(rpc_url=node.rpc_url, target=receiver.url, **options) as running:
        yield running


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def mint(chain: DemoChain, quantity: int = 1) -> int:
    """Mint and return the block's number."""
    return int(chain.wait(chain.mint(1, AUTHOR, quantity))["blockNumber"])


# --- what is sent ------------------------------------------------------------------------------


def test_a_mint_is_notified_signed_and_true_to_the_chain(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver):
        mint(chain, 2)
        (one,) = receiver.wait_for(1)
    assert one.is_genuine
    assert one.message["webhookId"] == "wh_sandbox"
    (truth,) = chain.mints()
    (log,) = one.block["logs"]
    assert one.block["hash"] == truth.block_hash
    assert one.block["number"] == truth.block_number
    assert one.block["timestamp"] == truth.block_timestamp
    assert log["index"] == truth.log_index
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


def test_all_mints_of_a_block_come_in_one_notification(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    chain.set_automine(False)
    with emulator(node, receiver):
        for minter in (1, 2, 3, 2):
            chain.mint(minter, AUTHOR, 2)
        chain.mine(3)
        receiver.wait_for(1)
        time.sleep(0.3)
    (one,) = receiver.received
    assert sorted(int(log["topics"][3], 16) for log in one.block["logs"]) == [1, 3, 5, 7]


def test_reveals_other_contracts_and_failed_mints_are_no_news(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver):
        chain.wait(chain.reveal(9, [1], ["ipfs://x"]))
        other = DemoChain(node.rpc_url)
        other.contract = other.w3.eth.contract(
            address=other.w3.to_checksum_address("0x" + "11" * 20), abi=chain.contract.abi
        )
        other.deploy()
        assert other.contract.address != chain.contract.address
        other.wait(other.mint(2, AUTHOR))
        assert chain.wait(chain.mint(1, AUTHOR, value_wei=0))["status"] == 0
        mint(chain)
        (one,) = receiver.wait_for(1)
        time.sleep(0.2)
    assert len(receiver.received) == 1
    assert one.block["number"] == chain.mints()[0].block_number


# --- delivery ----------------------------------------------------------------------------------


def test_any_answer_but_200_is_retried_with_the_same_bytes_until_the_schedule_ends(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    statuses = [201, 302, 401, 429, 500, 503]
    receiver.statuses = [*statuses, 500]
    with emulator(node, receiver) as alchemy:
        mint(chain)
        assert eventually(lambda: len(alchemy.deliveries) == 6)
        assert eventually(lambda: alchemy.oldest_pending_block() is None)
        assert [one.status for one in alchemy.deliveries] == statuses
    assert len({one.body for one in receiver.received}) == 1


def test_a_receiver_that_answers_too_late_is_tried_again(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.delay_seconds = 0.5
    with emulator(node, receiver, timeout_seconds=0.2, retry_seconds=(0.1,) * 99) as alchemy:
        mint(chain)
        receiver.wait_for(2)
        receiver.delay_seconds = 0
        assert eventually(lambda: alchemy.deliveries[-1].status == 200)
        assert alchemy.deliveries[0].status == 0


def test_a_failing_block_does_not_hold_up_the_next(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    with emulator(node, receiver, retry_seconds=(3600.0,)) as alchemy:
        first = mint(chain)
        receiver.wait_for(1)
        second = mint(chain)
        receiver.wait_for(2)
        assert alchemy.oldest_pending_block() == first
    assert receiver.block_numbers() == [first, second]


# --- reorgs and outages ------------------------------------------------------------------------


def test_a_reorg_brings_a_new_notification_for_the_new_block(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver):
        mint(chain)
        (old,) = receiver.wait_for(1)
        chain.reorg(1, keep=[(old.block["logs"][0]["transaction"]["hash"], 0)])
        new = receiver.wait_for(2)[1]
    assert new.block["number"] == old.block["number"]
    assert new.block["hash"] != old.block["hash"]
    assert new.message["id"] != old.message["id"]
    sequence = "sequenceNumber"
    assert int(new.message["event"][sequence]) > int(old.message["event"][sequence])


def test_a_reorg_that_drops_the_mint_is_silent(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver) as alchemy:
        mint(chain)
        receiver.wait_for(1)
        chain.reorg(1)
        chain.mine()
        assert eventually(lambda: alchemy.watcher.head == chain.block_number())
        after = mint(chain)
        receiver.wait_for(2)
    assert len(receiver.received) == 2
    assert receiver.block_numbers()[1] == after
    assert chain.next_token_id() == 2


def test_nothing_is_missed_while_the_node_restarts(tmp_path: Path, receiver: Receiver) -> None:
    with running_node(state_file=tmp_path / "chain.json") as node:
        chain = deployed_chain(node)
        with emulator(node, receiver):
            before = mint(chain)
            receiver.wait_for(1)
            node.checkpoint()
            node.kill()
            node.start()
            # Mined before the emulator is back.
            meanwhile = mint(chain)
            receiver.wait_for(2)
    assert receiver.block_numbers() == [before, meanwhile]


def test_an_emulator_that_was_away_goes_on_from_its_cursor(
    node: Node, chain: DemoChain, receiver: Receiver, tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor.json"
    with emulator(node, receiver, cursor_file=cursor) as alchemy:
        first = mint(chain)
        receiver.wait_for(1)
        assert eventually(lambda: alchemy.oldest_pending_block() is None)
        chain.mine(40)
        assert eventually(lambda: alchemy.watcher.head == chain.block_number())
    missed = mint(chain)
    chain.mine(2)
    with emulator(node, receiver, cursor_file=cursor):
        receiver.wait_for(2)
        time.sleep(0.1)
    assert receiver.block_numbers() == [first, missed]


def test_what_was_not_delivered_is_sent_again_by_the_next_emulator(
    node: Node, chain: DemoChain, receiver: Receiver, tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor.json"
    receiver.statuses = [500]
    with emulator(node, receiver, cursor_file=cursor, retry_seconds=(60.0,)):
        block = mint(chain)
        receiver.wait_for(1)
        chain.mine(40)
        time.sleep(0.2)
    with emulator(node, receiver, cursor_file=cursor):
        receiver.wait_for(2)
    assert receiver.block_numbers() == [block, block]


# --- faults ------------------------------------------------------------------------------------


def test_lost_is_never_sent_and_logged(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_lost_rate=1.0)
        lost = mint(chain)
        assert eventually(lambda: bool(alchemy.deliveries))
        alchemy.set_faults(webhook_lost_rate=0.0)
        sent = mint(chain)
        receiver.wait_for(1)
        assert [(one.block_number, one.fault) for one in alchemy.deliveries][:1] == [(lost, "lost")]
    assert receiver.block_numbers() == [sent]


def test_duplicates_carry_the_same_id(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_duplicate_rate=1.0)
        mint(chain)
        first, second = receiver.wait_for(2)
    assert first.body == second.body


def test_a_reordered_notification_is_overtaken_by_the_next(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_reorder_rate=1.0, webhook_reorder_seconds=[3600, 3600])
        first = mint(chain)
        assert eventually(lambda: alchemy.oldest_pending_block() == first)
        alchemy.set_faults(webhook_reorder_rate=0.0)
        second = mint(chain)
        receiver.wait_for(2)
        # Nothing is left that the end of its own waiting time could send a second time.
        assert eventually(lambda: alchemy.oldest_pending_block() is None)
    assert receiver.block_numbers() == [second, first]


@pytest.mark.parametrize("fault", ["truncated", "forged"])
def test_a_spoilt_attempt_is_refused_and_the_retry_is_right(
    node: Node, chain: DemoChain, receiver: Receiver, fault: str
) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(**{f"webhook_{fault}_rate": 1.0})
        mint(chain)
        first, second = receiver.wait_for(2)
        assert eventually(lambda: len(alchemy.deliveries) == 2)
        assert [one.status for one in alchemy.deliveries] == [401, 200]
    assert not first.is_genuine
    assert second.is_genuine
    assert second.body.startswith(first.body)
    assert (len(first.body) < len(second.body)) == (fault == "truncated")


# --- the watcher, told of heads by hand ---------------------------------------------------------


class Watch:
    """A watcher, and the numbers of the blocks that it reports."""

    def __init__(self, chain: DemoChain) -> None:
        self.chain = chain
        self.blocks: list[Header] = []
        self.watcher = ChainWatcher(chain.rpc_url, self.blocks.append)

    def look(self) -> list[int]:
        """Report the chain's head; return the numbers of the blocks that are news."""
        self.blocks.clear()
        self.watcher.on_head(self.chain.rpc("eth_getBlockByNumber", "latest", False))
        return [int(block["number"], 16) for block in self.blocks]


def test_each_block_is_reported_once_however_much_happened_between_two_heads(node: Node) -> None:
    chain = DemoChain(node.rpc_url)
    chain.mine(5)
    watch = Watch(chain)
    assert watch.look() == []
    chain.mine(10)
    assert watch.look() == list(range(6, 16))
    assert watch.look() == []
    chain.reorg(4)  # found down to the fork
    chain.mine(2)
    assert watch.look() == [12, 13, 14, 15, 16, 17]
    assert watch.blocks[0]["hash"] == chain.rpc("eth_getBlockByNumber", "0xc", False)["hash"]
    snapshot = chain.snapshot()
    chain.mine(4)
    watch.look()
    chain.revert(snapshot)  # a shorter chain
    chain.increase_time(100)
    assert watch.look() == [18]
    chain.mine(2)
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    watch.blocks.clear()
    watch.watcher.on_head({**head, "parentHash": "0x" + "ee" * 32})  # replaced while it looks
    assert watch.blocks == []
    assert watch.look() == [19, 20]


# --- bytes ---------------------------------------------------------------------------------------


def test_a_rebuilt_sample_has_the_samples_bytes_and_signature() -> None:
    """From the RPC's answers for the sample's block we make the sample, but for the clock."""
    assert sign("whsec_test", SAMPLE.read_bytes()) == SAMPLE_SIGNATURE
    sample = json.loads(SAMPLE.read_text())
    del sample["event"]["network"]  # which older messages do not have
    block = sample["event"]["data"]["block"]
    (log,) = block["logs"]
    tx_hash = log["transaction"]["hash"]
    header = {name: hex(block[name]) for name in ("number", "timestamp")}
    contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
    sender = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
    event = block_event(
        {**header, "hash": block["hash"]},
        [
            {
                "data": log["data"],
                "topics": log["topics"],
                "logIndex": hex(log["index"]),
                "address": contract,
                "transactionHash": tx_hash,
            }
        ],
        {
            tx_hash: transaction_fields(
                {"hash": tx_hash, "from": sender, "to": contract},
                {"transactionIndex": "0x0", "status": "0x1"},
            )
        },
        10000000000578619000,
    )
    body = json.loads(render(sample["webhookId"], sample["id"], event))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", body["createdAt"])
    body["createdAt"] = sample["createdAt"]
    assert json.dumps(body) == json.dumps(sample)
