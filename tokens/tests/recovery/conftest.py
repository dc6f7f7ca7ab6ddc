"""A real node with the contract, which every test finds as it was deployed."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pytest_django import Settings

from authors.models import Author
from authors.tests.factories import AuthorFactory
from glisk.clients.chain import ChainClient
from glisk.timing import timing
from sandbox.accounts import AUTHORS
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.node_proxy import NodeProxy
from tokens.tests.recovery.stage import FOX, LIGHTHOUSE

PROMPTS = {AUTHORS[0].address: "a fox in the snow", AUTHORS[1].address: "a lighthouse at night"}


@pytest.fixture
def chain(deployed: DemoChain, settings: Settings) -> Iterator[DemoChain]:
    """The chain, and settings that lead to it; a block comes with every transaction."""
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.CONTRACT_DEPLOYED_AT_BLOCK = 0
    settings.MINT_CONFIRMATIONS = 1
    snapshot = deployed.snapshot()
    yield deployed
    deployed.set_automine(True)
    deployed.revert(snapshot)


@pytest.fixture
def proxy(chain: DemoChain, settings: Settings) -> Iterator[NodeProxy]:
    """The same node by way of a provider that a test may let misbehave."""
    with NodeProxy(chain.rpc_url) as proxy:
        settings.RPC_URL = proxy.url
        yield proxy


@pytest.fixture
def reader(chain: DemoChain) -> ChainClient:
    return ChainClient.from_settings()


@pytest.fixture
def bad_reader(proxy: NodeProxy) -> ChainClient:
    """A reader that goes by way of the proxy."""
    return ChainClient.from_settings()


@pytest.fixture(autouse=True)
def authors(settings: Settings, request: pytest.FixtureRequest) -> list[Author]:
    """The default author and two others; a third wallet mints without being registered."""
    if request.node.get_closest_marker("django_db") is None:
        return []
    request.getfixturevalue("db")
    default = AuthorFactory.create(
        wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET, prompt_text="the default prompt"
    )
    return [
        default,
        *(AuthorFactory.create(wallet_address=w, prompt_text=p) for w, p in PROMPTS.items()),
    ]


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the wall clock are left out; those in blocks are played."""
    monkeypatch.setattr(timing, "first_retry", 0.0)
    monkeypatch.setattr(timing, "reorg_patience", 1e9)


@pytest.fixture
def history(chain: DemoChain, reader: ChainClient) -> DemoChain:
    """Three mints of six tokens, known and settled."""
    for number in range(3):
        chain.wait(chain.mint(1, FOX if number % 2 else LIGHTHOUSE, number + 1))
    chain.mine(15)
    scan_chain(reader)
    scan_chain(reader)
    return chain


def assert_equal_to_chain(chain: DemoChain) -> None:
    """Compare every mint and every token with what the chain itself says."""
    mints = chain.mints()
    assert {
        (e.tx_hash, e.log_index, e.block_number, e.block_hash, e.start_token_id, e.quantity)
        for e in MintEvent.objects.all()
    } == {
        (m.tx_hash, m.log_index, m.block_number, m.block_hash, m.start_token_id, m.quantity)
        for m in mints
    }
    owners = {
        token_id: mint
        for mint in mints
        for token_id in range(mint.start_token_id, mint.start_token_id + mint.quantity)
    }
    tokens = {t.token_id: t for t in Token.objects.select_related("mint_event", "author")}
    assert sorted(tokens) == sorted(owners) == list(range(1, chain.next_token_id()))
    for token_id, token in tokens.items():
        mint = owners[token_id]
        assert token.mint_event is not None
        assert token.mint_event.tx_hash == mint.tx_hash
        assert (
            token.prompt_author_wallet == mint.prompt_author == chain.token_prompt_author(token_id)
        )
        assert token.minter_address == mint.minter
        assert token.mint_timestamp == datetime.fromtimestamp(mint.block_timestamp, tz=UTC)
        assert token.prompt == PROMPTS.get(mint.prompt_author, "the default prompt")
