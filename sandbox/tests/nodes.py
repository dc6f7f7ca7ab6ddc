"""A node of the sandbox for tests; the fixture is everybody's (see conftest.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.accounts import KEEPER
from sandbox.anvil import ensure_anvil
from sandbox.node import Node

if TYPE_CHECKING:
    from sandbox.chain import DemoChain


@pytest.fixture(scope="session")
def anvil_binary() -> Path:
    """Install the node once, before the first test's own time limit starts to run."""
    return ensure_anvil()


@pytest.fixture(scope="module")
def deployed(anvil_binary: Path) -> Iterator[DemoChain]:
    """The demo contract on a node of the module's own, as long as tests take back what they do.

    A node keeps the states of its last 128 blocks, those that a test undid included.
    """
    with running_node() as node:
        yield deployed_chain(node)


@contextmanager
def running_node(*, block_time: float | None = 0, **options: Any) -> Iterator[Node]:
    """Run a node on a free port; by default it mines at every transaction. Options: see Node."""
    with Node(port=0, block_time=block_time, **options) as node:
        yield node


def deployed_chain(node: Node) -> DemoChain:
    """Deploy the demo contract on the node and return the chain."""
    from sandbox.chain import DemoChain  # web3 takes its time, in every process of the tests

    chain = DemoChain(node.rpc_url)
    chain.deploy(KEEPER.address)
    return chain
