from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from sandbox.paint import Painter
from sandbox.pinata.emulator import PinataEmulator
from sandbox.pinata.store import ContentStore
from sandbox.replicate.emulator import ReplicateEmulator
from tokens.tasks import GenerationDrain, UploadDrain
from tokens.tests.stage import Vendors, Worker


@pytest.fixture(scope="session")
def _vendors() -> Iterator[Vendors]:
    replicate = ReplicateEmulator(
        generation_seconds=0.1, painter=Painter(image_size=96), webhook_retry_seconds=0.1
    )
    vendors = Vendors(
        replicate.start(), PinataEmulator(store=ContentStore(), pin_seconds=0.0).start()
    )
    yield vendors
    vendors.stop()


@pytest.fixture
def vendors(_vendors: Vendors, settings: Settings) -> Iterator[Vendors]:
    """Emulators without any memory, and settings that lead to them."""
    settings.REPLICATE_BASE_URL = _vendors.replicate.url
    settings.REPLICATE_OUTPUT_HOSTS = [_vendors.replicate.url.removeprefix("http://")]
    settings.PINATA_API_URL = _vendors.pinata.url
    settings.PINATA_GATEWAY = [_vendors.gateway.url]
    settings.HTTP_READ_TIMEOUT_SECONDS = 10
    _vendors.reset()
    yield _vendors
    _vendors.reset()


@pytest.fixture
def worker(vendors: Vendors, quick: None, settings: Settings) -> Iterator[Callable[[], Worker]]:
    """Start the drains of a worker; each call gives another one's."""
    started: list[Worker] = []

    def start() -> Worker:
        generation = [GenerationDrain()] if settings.ENABLE_IMAGE_WORKER else []
        upload = [UploadDrain()] if settings.ENABLE_IPFS_WORKER else []
        started.append(Worker(*generation, *upload))
        return started[-1]

    yield start
    for each in started:
        each.end()
