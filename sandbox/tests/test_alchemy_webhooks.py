"""The Alchemy emulator at work: from a mined block to the receiver, through every disturbance."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.accounts import AUTHORS, COLLECTORS
from sandbox.alchemy import AlchemyEmulator
from sandbox.alchemy.faults import AlchemyFaults
from sandbox.chain import DemoChain
from sandbox.node import Node, free_port
from sandbox.testing import deployed_chain, running_node
from sandbox.tests.webhook_receiver import Receiver, running_receiver

AUTHOR = AUTHORS[0].address
FAST_RETRIES = (0.05, 0.05, 0.1, 0.1, 0.2)

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
    with emulator(node, receiver, network="BASE_SEPOLIA"):
        mint(chain, 2)
        (one,) = receiver.wait_for(1)
    assert one.is_genuine
    assert one.message["webhookId"] == "wh_sandbox"
    assert one.message["event"]["network"] == "BASE_SEPOLIA"
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


def test_heartbeats_tell_of_every_block_when_asked_for(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver, skip_empty_messages=False):
        head = chain.block_number()
        chain.mine(3)
        receiver.wait_for(3)
    assert sorted(receiver.block_numbers()) == [head + 1, head + 2, head + 3]
    assert receiver.received[0].block["logs"] == []


def test_sequence_numbers_are_decimal_strings_that_rise(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver):
        for _ in range(5):
            mint(chain)
        received = receiver.wait_for(5)
    numbers = {one.block["number"]: one.message["event"]["sequenceNumber"] for one in received}
    ordered = [int(numbers[number]) for number in sorted(numbers)]
    assert ordered == sorted(set(ordered))
    assert all(len(number) == 20 for number in numbers.values())


def test_a_block_is_notified_at_once(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    chain.set_automine(False)
    delays = []
    with emulator(node, receiver):
        for count in range(1, 6):
            chain.mint(1, AUTHOR)
            mined_at = time.time()
            chain.mine()
            delays.append(receiver.wait_for(count)[-1].at - mined_at)
    assert sorted(delays)[2] < 1  # a few milliseconds on an idle machine


# --- delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 409, 429, 500])
def test_any_answer_but_200_is_retried_with_the_same_bytes(
    node: Node, chain: DemoChain, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status]
    with emulator(node, receiver) as alchemy:
        mint(chain)
        first, second = receiver.wait_for(2)
        assert eventually(lambda: len(alchemy.sender.deliveries) == 2)
        attempts = [(one.attempt, one.status) for one in alchemy.sender.deliveries]
    assert first.body == second.body
    assert attempts == [(1, status), (2, 200)]


def test_retries_end_when_the_schedule_does(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 10
    with emulator(node, receiver, retry_seconds=(0.02, 0.02)) as alchemy:
        mint(chain)
        receiver.wait_for(3)
        assert eventually(lambda: alchemy.sender.oldest_pending_block() is None)
    assert len(receiver.received) == 3


def test_a_receiver_that_answers_too_late_is_tried_again(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.delay_seconds = 0.5
    with emulator(node, receiver, timeout_seconds=0.2, retry_seconds=(0.1,) * 99) as alchemy:
        mint(chain)
        receiver.wait_for(2)
        receiver.delay_seconds = 0
        assert eventually(lambda: alchemy.sender.deliveries[-1].status == 200)
        assert alchemy.sender.deliveries[0].status == 0


def test_a_failing_block_does_not_hold_up_the_next(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    with emulator(node, receiver, retry_seconds=(3600.0,)) as alchemy:
        first = mint(chain)
        receiver.wait_for(1)
        second = mint(chain)
        receiver.wait_for(2)
        assert alchemy.sender.oldest_pending_block() == first
    assert receiver.block_numbers() == [first, second]


def test_failures_in_a_row_pause_and_unpausing_does_not_replay(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 2
    with emulator(node, receiver, retry_seconds=(0.02,) * 5, pause_after=2) as alchemy:
        mint(chain)
        assert eventually(lambda: alchemy.sender.paused)
        unheard = mint(chain)
        assert eventually(lambda: alchemy.sender.deliveries[-1].fault == "paused")
        control(alchemy, "/_sandbox/unpause", {})
        chain.mine()
        assert eventually(lambda: alchemy.watcher.head == chain.block_number())
        heard = mint(chain)
        receiver.wait_for(3)
        time.sleep(0.1)
    assert unheard not in receiver.block_numbers()
    assert receiver.block_numbers()[-1] == heard


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


def test_a_deep_reorg_notifies_every_moved_mint(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver):
        blocks = [mint(chain) for _ in range(4)]
        hashes = [one.tx_hash for one in chain.mints()]
        receiver.wait_for(4)
        chain.reorg(4, keep=[(tx_hash, index) for index, tx_hash in enumerate(hashes)])
        receiver.wait_for(8)
    assert sorted(receiver.block_numbers()) == sorted(blocks * 2)


def test_nothing_is_missed_while_the_node_restarts(tmp_path: Path, receiver: Receiver) -> None:
    with running_node(state_file=tmp_path / "chain.json") as node:
        chain = deployed_chain(node)
        with emulator(node, receiver) as alchemy:
            before = mint(chain)
            receiver.wait_for(1)
            node.checkpoint()
            node.kill()
            assert eventually(lambda: not alchemy.watcher.connected)
            node.start()
            # Mined before the emulator is back.
            meanwhile = mint(chain)
            receiver.wait_for(2)
    assert receiver.block_numbers() == [before, meanwhile]


def test_a_node_that_begins_a_new_chain_is_followed_from_its_beginning(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    chain.mine(20)
    with emulator(node, receiver) as alchemy:
        mint(chain)
        receiver.wait_for(1)
        node.kill()
        assert eventually(lambda: not alchemy.watcher.connected)
        time.sleep(1)  # The new chain's first block must not bear the old one's second.
        node.start()
        chain.deploy()
        early = mint(chain)
        receiver.wait_for(2)
    assert early < 20
    assert receiver.block_numbers()[1] == early


def test_an_emulator_that_was_away_goes_on_from_its_cursor(
    node: Node, chain: DemoChain, receiver: Receiver, tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor.json"
    with emulator(node, receiver, cursor_file=cursor) as alchemy:
        first = mint(chain)
        receiver.wait_for(1)
        assert eventually(lambda: alchemy.sender.oldest_pending_block() is None)
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


def test_a_chosen_first_block_is_the_first_notified(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    blocks = [mint(chain) for _ in range(3)]
    with emulator(node, receiver, from_block=blocks[1]):
        receiver.wait_for(2)
        time.sleep(0.1)
    assert sorted(receiver.block_numbers()) == blocks[1:]


def test_it_starts_without_a_node_and_says_so(node: Node, receiver: Receiver) -> None:
    node.stop()
    with emulator(node, receiver) as alchemy:
        assert control(alchemy, "/health")["status"] == "degraded"
        node.start()
        assert eventually(lambda: control(alchemy, "/health")["status"] == "healthy")


# --- faults ------------------------------------------------------------------------------------


def test_lost_is_never_sent_and_logged(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_lost_rate=1.0)
        lost = mint(chain)
        assert eventually(lambda: bool(alchemy.sender.deliveries))
        alchemy.set_faults(webhook_lost_rate=0.0)
        sent = mint(chain)
        receiver.wait_for(1)
        assert [(one.block_number, one.fault) for one in alchemy.sender.deliveries][:1] == [
            (lost, "lost")
        ]
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
        assert eventually(lambda: alchemy.sender.oldest_pending_block() == first)
        alchemy.set_faults(webhook_reorder_rate=0.0)
        second = mint(chain)
        receiver.wait_for(2)
        # Nothing is left that the end of its own waiting time could send a second time.
        assert eventually(lambda: alchemy.sender.oldest_pending_block() is None)
    assert receiver.block_numbers() == [second, first]


def test_a_reordered_notification_comes_even_when_nothing_follows(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_reorder_rate=1.0, webhook_reorder_seconds=[0.3, 0.3])
        mint(chain)
        receiver.wait_for(1)


def test_a_delayed_notification_is_late(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(webhook_delay_rate=1.0, webhook_delay_seconds=[0.4, 0.5])
        started = time.time()
        mint(chain)
        (one,) = receiver.wait_for(1)
    assert one.at - started >= 0.4


@pytest.mark.parametrize("fault", ["truncated", "forged"])
def test_a_spoilt_attempt_is_refused_and_the_retry_is_right(
    node: Node, chain: DemoChain, receiver: Receiver, fault: str
) -> None:
    with emulator(node, receiver) as alchemy:
        alchemy.set_faults(**{f"webhook_{fault}_rate": 1.0})
        mint(chain)
        first, second = receiver.wait_for(2)
        assert eventually(lambda: len(alchemy.sender.deliveries) == 2)
        assert [one.status for one in alchemy.sender.deliveries] == [401, 200]
    assert not first.is_genuine
    assert second.is_genuine
    assert second.body.startswith(first.body)
    assert (len(first.body) < len(second.body)) == (fault == "truncated")


def test_faults_repeat_with_their_seed(node: Node, chain: DemoChain, receiver: Receiver) -> None:
    def lost_blocks() -> list[int]:
        snapshot = chain.snapshot()
        with emulator(node, receiver, seed=7) as alchemy:
            alchemy.set_faults(webhook_lost_rate=0.5)
            for _ in range(12):
                mint(chain)
            assert eventually(lambda: len(alchemy.sender.deliveries) == 12)
            attempts = alchemy.sender.deliveries
        chain.revert(snapshot)
        return sorted(one.block_number for one in attempts if one.fault == "lost")

    first = lost_blocks()
    assert 0 < len(first) < 12
    assert lost_blocks() == first


# --- control port and process ------------------------------------------------------------------


def control(alchemy: AlchemyEmulator, path: str, change: dict[str, Any] | None = None) -> Any:
    body = None if change is None else json.dumps(change).encode()
    with urllib.request.urlopen(alchemy.url + path, body, timeout=60) as response:
        return json.load(response)


def test_the_control_port_shows_health_and_deliveries_and_sets_faults(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver) as alchemy:
        block = mint(chain)
        receiver.wait_for(1)
        assert eventually(lambda: control(alchemy, "/calls")["count"] == 1)
        (call,) = control(alchemy, "/calls")["calls"]
        assert (call["block_number"], call["attempt"], call["status"]) == (block, 1, 200)
        assert call["event_id"] == receiver.received[0].message["id"]
        health = control(alchemy, "/health")
        assert (health["status"], health["block"], health["paused"]) == ("healthy", block, False)
        faults = control(alchemy, "/faults", {"webhook_delay_rate": 0.25})
        assert faults["webhook_delay_rate"] == 0.25
        assert isinstance(alchemy.faults, AlchemyFaults)
        assert alchemy.faults.webhook_delay_rate == 0.25
        with pytest.raises(urllib.request.HTTPError) as caught:
            control(alchemy, "/faults", {"no_such_rate": 1})
        assert caught.value.code == 400
        caught.value.close()


def test_the_capacity_message_is_sent_on_demand(
    node: Node, chain: DemoChain, receiver: Receiver
) -> None:
    with emulator(node, receiver) as alchemy:
        control(alchemy, "/_sandbox/capacity", {})
        (one,) = receiver.wait_for(1)
    assert one.is_genuine
    assert list(one.message["event"]) == ["error"]


def test_it_runs_as_a_process_and_costs_little_while_idle(
    receiver: Receiver, tmp_path: Path
) -> None:
    with running_node(block_time=1) as node:
        chain = deployed_chain(node)
        port = free_port()
        command = [sys.executable, "-m", "sandbox.alchemy", "--rpc-url", node.rpc_url]
        command += ["--target", receiver.url, "--port", str(port), "--from-block", "0"]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        try:
            mint(chain)
            receiver.wait_for(1)
            assert receiver.received[0].is_genuine
            watched = psutil.Process(process.pid)
            before = watched.cpu_times()
            time.sleep(3)
            after = watched.cpu_times()
        finally:
            process.terminate()
            assert process.wait(60) == 0
    used = after.user + after.system - before.user - before.system
    assert used / 3 < 0.2  # under 0.02 on an idle machine
