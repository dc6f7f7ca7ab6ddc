"""A chain with smart wallets on it, and wallets that sign."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from authors.tests.wallets import WalletChain
from sandbox.tests.nodes import running_node


@pytest.fixture(scope="session")
def shared_wallet_chain(anvil_binary: Path) -> Iterator[WalletChain]:
    """One node for all: it says to be Optimism, which no signature of a wallet depends on."""
    with running_node(chain_id=10) as node:
        yield WalletChain(node.rpc_url)


@pytest.fixture
def wallet_chain(shared_wallet_chain: WalletChain, settings: Settings) -> WalletChain:
    settings.RPC_URL = shared_wallet_chain.rpc_url
    return shared_wallet_chain
