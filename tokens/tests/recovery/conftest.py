"""A real node with the contract, which every test finds as it was deployed."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from authors.factories import AuthorFactory
from authors.models import Author
from glisk.clients.mint_reader import MintReader
from sandbox.chain import DemoChain
from sandbox.testing import deployed_chain, running_node
from tokens.mint_log import BATCH_MINTED_TOPIC


@pytest.fixture(scope="session")
def _deployed() -> Iterator[DemoChain]:
    with running_node(hold_base_fee=False) as node:
        yield deployed_chain(node)


@pytest.fixture
def chain(_deployed: DemoChain, settings: Settings) -> Iterator[DemoChain]:
    """The chain, and settings that lead to it; a block comes with every transaction."""
    settings.RPC_URL = _deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = _deployed.contract.address
    settings.CONTRACT_DEPLOYED_AT_BLOCK = 0
    settings.MINT_CONFIRMATIONS = 1
    snapshot = _deployed.snapshot()
    yield _deployed
    _deployed.set_automine(True)
    _deployed.revert(snapshot)


@pytest.fixture
def reader(chain: DemoChain) -> MintReader:
    return MintReader.from_settings(topic=BATCH_MINTED_TOPIC)


@pytest.fixture(autouse=True)
def default_author(settings: Settings, request: pytest.FixtureRequest) -> Author | None:
    if request.node.get_closest_marker("django_db") is None:
        return None
    return AuthorFactory.create(
        wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET, prompt_text="the default prompt"
    )
