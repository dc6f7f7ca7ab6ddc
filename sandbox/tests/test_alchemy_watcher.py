"""The watcher reports each canonical block once, however much happened between two heads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.alchemy.watcher import ChainWatcher
from sandbox.chain import DemoChain
from sandbox.heads import Header
from sandbox.testing import running_node


class Watch:
    """A watcher that is told of heads by hand, and what it reported."""

    def __init__(self, chain: DemoChain, from_block: int | None = None) -> None:
        self.chain = chain
        self.blocks: list[Header] = []
        self.watcher = ChainWatcher(chain.rpc_url, self.blocks.append, from_block=from_block)

    def look(self) -> list[int]:
        """Report the chain's head; return the numbers of the blocks that are news."""
        self.blocks.clear()
        self.watcher.on_head(self.chain.rpc("eth_getBlockByNumber", "latest", False))
        return [int(block["number"], 16) for block in self.blocks]


@pytest.fixture
def chain(anvil_binary: Path) -> Iterator[DemoChain]:
    with running_node() as node:
        chain = DemoChain(node.rpc_url)
        chain.mine(5)
        yield chain


@pytest.fixture
def watch(chain: DemoChain) -> Iterator[Watch]:
    watch = Watch(chain)
    assert watch.look() == []
    yield watch
    watch.watcher.stop()


def test_blocks_between_two_heads_are_reported_in_order(chain: DemoChain, watch: Watch) -> None:
    chain.mine(30)
    assert watch.look() == list(range(6, 36))
    assert watch.look() == []


def test_a_reorg_between_two_heads_is_found_down_to_the_fork(
    chain: DemoChain, watch: Watch
) -> None:
    chain.mine(10)
    watch.look()
    chain.reorg(4)
    chain.mine(2)
    assert watch.look() == [12, 13, 14, 15, 16, 17]
    assert watch.blocks[0]["hash"] == chain.rpc("eth_getBlockByNumber", "0xc", False)["hash"]
    chain.mine()
    assert watch.look() == [18]


def test_a_shorter_chain_is_noticed(chain: DemoChain, watch: Watch) -> None:
    snapshot = chain.snapshot()
    chain.mine(4)
    watch.look()
    chain.revert(snapshot)
    chain.increase_time(100)
    assert watch.look() == [6]
    chain.mine()
    assert watch.look() == [7]


def test_blocks_before_the_first_are_not_reported_even_when_replaced(
    chain: DemoChain, watch: Watch
) -> None:
    chain.mine(1)
    watch.look()
    chain.reorg(4)
    assert watch.look() == [6]


def test_watching_begins_at_a_chosen_block(chain: DemoChain) -> None:
    watch = Watch(chain, from_block=2)
    assert watch.look() == [2, 3, 4, 5]
    watch.watcher.stop()


def test_restarting_at_the_head_leaves_out_what_came_before(chain: DemoChain, watch: Watch) -> None:
    chain.mine(3)
    watch.watcher.restart_at_head()
    assert watch.look() == []
    chain.mine(2)
    assert watch.look() == [9, 10]


def test_a_head_replaced_while_we_look_is_left_to_the_next_one(
    chain: DemoChain, watch: Watch
) -> None:
    chain.mine(2)
    head = chain.rpc("eth_getBlockByNumber", "latest", False)
    watch.watcher.on_head({**head, "parentHash": "0x" + "ee" * 32})
    assert watch.blocks == []
    assert watch.look() == [6, 7]
