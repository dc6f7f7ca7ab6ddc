"""A real node, Alchemy's emulator with every fault at once, and reorgs: the end is the chain's."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from authors.tests.factories import AuthorFactory
from glisk.clients.chain import ChainClient
from sandbox.accounts import AUTHORS
from sandbox.alchemy.emulator import AlchemyEmulator
from sandbox.chain import DemoChain
from tokens.models import Token
from tokens.recovery.proof import prove
from tokens.recovery.scan import scan_chain
from tokens.tests.recovery.conftest import PROMPTS, assert_equal_to_chain
from webhooks.models import WebhookEvent
from webhooks.tasks import finish_events

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 6


@pytest.fixture
def alchemy(chain: DemoChain, live_server: LiveServer) -> Iterator[AlchemyEmulator]:
    emulator = AlchemyEmulator(
        rpc_url=chain.rpc_url,
        target=f"{live_server.url}/webhooks/alchemy",
        retry_seconds=(0.05, 0.1, 0.2),
        seed=20260201,
    )
    emulator.set_faults(
        webhook_lost_rate=0.25,
        webhook_duplicate_rate=0.2,
        webhook_reorder_rate=0.2,
        webhook_reorder_seconds=(0.1, 0.3),
        webhook_delay_rate=0.1,
        webhook_delay_seconds=(0.05, 0.3),
        webhook_truncated_rate=0.2,
        webhook_forged_rate=0.1,
    )
    with emulator:
        yield emulator


def wait_for_all(alchemy: AlchemyEmulator, chain: DemoChain) -> None:
    """Wait until every block was seen, and every notification delivered or given up."""
    deadline = time.monotonic() + 60
    while alchemy.watcher.head < chain.block_number() or alchemy.oldest_pending_block() is not None:
        assert time.monotonic() < deadline, "the emulator is not done with its deliveries"
        time.sleep(0.02)


def mint_somewhat(chain: DemoChain, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 3)):
        author = dice.choice([AUTHORS[0].address, AUTHORS[1].address, AUTHORS[2].address])
        chain.wait(chain.mint(dice.randint(1, 3), author, dice.randint(1, 4)))


def shake(chain: DemoChain, dice: random.Random) -> None:
    """Take back some blocks; some of their mints come again, in any order."""
    depth = min(dice.choice([1, 2, 3]), chain.block_number() - 3)
    if depth < 1:
        return
    first = chain.block_number() - depth + 1
    hashes = [mint.tx_hash for mint in chain.mints(first) if dice.random() < 0.6]
    dice.shuffle(hashes)
    chain.reorg(depth, keep=[(tx_hash, dice.randrange(depth)) for tx_hash in hashes])
    chain.mine(1)


def test_whatever_becomes_of_the_deliveries_the_tokens_are_the_chains(
    chain: DemoChain, reader: ChainClient, alchemy: AlchemyEmulator, settings: Settings
) -> None:
    AuthorFactory.create(
        wallet_address=settings.GLISK_DEFAULT_AUTHOR_WALLET, prompt_text="the default prompt"
    )
    for address, prompt in PROMPTS.items():
        AuthorFactory.create(wallet_address=address, prompt_text=prompt)
    dice = random.Random(20260201)
    for round_ in range(ROUNDS):
        mint_somewhat(chain, dice)
        if round_ % 3 == 2:
            shake(chain, dice)
        if dice.random() < 0.3:
            scan_chain(reader)
    wait_for_all(alchemy, chain)
    faults = {delivery.fault for delivery in alchemy.deliveries}
    assert {"lost", "duplicate", "reorder", "truncated"} <= faults
    scan_chain(reader)
    chain.mine(15)
    for _ in range(3):
        prove(reader, budget_seconds=600)
        chain.mine(2)
        scan_chain(reader)
    finish_events()
    assert_equal_to_chain(chain)
    assert Token.objects.count() > 10
    assert not WebhookEvent.objects.filter(status__in=["received", "failed"]).exists()
