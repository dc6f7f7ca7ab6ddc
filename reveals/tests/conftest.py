from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytest_django import DjangoDbBlocker, Settings

from reveals.tasks import RevealDrain
from reveals.tests.drains import Drains
from reveals.tests.stage import Scene
from sandbox.accounts import KEEPER
from sandbox.chain import DemoChain
from sandbox.faulty_rpc import FaultyRpc
from sandbox.gateway.emulator import GatewayEmulator
from sandbox.pinata.store import ContentStore
from tokens.tests.stage import Worker


@pytest.fixture(scope="session")
def _gateway() -> Iterator[tuple[GatewayEmulator, ContentStore]]:
    store = ContentStore()
    with GatewayEmulator(store=store) as gateway:
        yield gateway, store
    store.close()


@pytest.fixture
def scene(
    deployed: DemoChain,
    _gateway: tuple[GatewayEmulator, ContentStore],
    settings: Settings,
) -> Iterator[Scene]:
    """A chain that mines at once and goes back to its beginning after the test.

    Tokens that are being checked are waited for, however long it takes: so what is ready together
    goes together.
    """
    gateway, store = _gateway
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    settings.PINATA_GATEWAY = [gateway.url]
    settings.HTTP_READ_TIMEOUT_SECONDS = 10
    settings.RPC_TIMEOUT_SECONDS = 20
    settings.BATCH_REVEAL_WAIT_SECONDS = 3600
    before = deployed.snapshot()
    yield Scene(deployed, gateway, store)
    gateway.reset(state=True)
    store.clear()
    deployed.rpc("anvil_dropAllTransactions")
    deployed.revert(before)
    deployed.set_automine(True)


@pytest.fixture
def proxy(scene: Scene, settings: Settings) -> Iterator[FaultyRpc]:
    """A provider before the node, which the worker talks to."""
    with FaultyRpc(scene.chain.rpc_url) as proxy:
        settings.RPC_URL = proxy.url
        yield proxy


@pytest.fixture
def worker(scene: Scene, quick: None) -> Iterator[Callable[[], Worker]]:
    """Start reveal drains; each call gives another process's."""
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(RevealDrain()))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.fixture(scope="module")
def _drains(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Drains]:
    with django_db_blocker.unblock():
        drains = Drains()
    yield drains
    drains.close()


@pytest.fixture
def drains(_drains: Drains) -> Iterator[Drains]:
    yield _drains
    _drains.end()
