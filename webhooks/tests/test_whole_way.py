"""One token's life on a node: a signed webhook, an image, two files, a reveal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.test import Client
from pytest_django import Settings

from authors.tests.factories import AuthorFactory
from glisk.engine.drain import Drain
from glisk.tests.pace import hurry
from reveals.tasks import RevealDrain
from sandbox.accounts import AUTHORS, KEEPER
from sandbox.chain import DemoChain
from tokens.minting.mint_log import BATCH_MINTED_TOPIC
from tokens.models import Token, TokenTransition
from tokens.states import TokenStatus
from tokens.tasks import GenerationDrain, UploadDrain
from tokens.tests.conftest import _vendors, vendors
from tokens.tests.stage import Vendors, Worker, has_status
from webhooks.tests.sending import activity_event, post_alchemy

__all__ = ["_vendors", "vendors"]

pytestmark = [pytest.mark.fast, pytest.mark.django_db]


@contextmanager
def running(*drains: Drain) -> Iterator[Worker]:
    worker = Worker(*drains)
    try:
        yield worker
    finally:
        worker.end()


@pytest.fixture
def chain(deployed: DemoChain, settings: Settings) -> DemoChain:
    settings.RPC_URL = deployed.rpc_url
    settings.GLISK_NFT_CONTRACT_ADDRESS = deployed.contract.address
    settings.KEEPER_PRIVATE_KEY = KEEPER.private_key
    return deployed


@pytest.mark.usefixtures("quick")
def test_a_signed_webhook_becomes_a_revealed_token(
    client: Client, chain: DemoChain, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch.setattr)
    AuthorFactory.create(wallet_address=AUTHORS[0].address, prompt_text="a fox in the snow")
    receipt = chain.wait(chain.mint(1, AUTHORS[0].address, 2))
    block = hex(receipt["blockNumber"])
    wanted = {"fromBlock": block, "toBlock": block, "topics": [BATCH_MINTED_TOPIC]}
    answer = post_alchemy(client, activity_event(chain.rpc("eth_getLogs", wanted)))
    assert answer.json() == {"status": "processed", "registered": 1, "tokens": 2}

    tokens = list(Token.objects.order_by("pk"))
    with running(GenerationDrain(), UploadDrain()) as worker:
        worker.until(has_status(TokenStatus.READY, *tokens))
    with running(RevealDrain()) as worker:
        worker.until(has_status(TokenStatus.REVEALED, *tokens))

    assert vendors.paid == vendors.creations() == 2
    (reveal,) = chain.reveal_transactions()
    assert reveal.token_ids == tuple(token.pk for token in tokens)
    for token in tokens:
        token.refresh_from_db()
        assert token.prompt == "a fox in the snow"
        assert chain.token_uri(token.pk) == token.token_uri == f"ipfs://{token.metadata_cid}"
        metadata = vendors.store.read(str(token.metadata_cid))
        assert metadata is not None
        assert json.loads(metadata)["image"] == f"ipfs://{token.image_cid}"
        assert vendors.store.read(str(token.image_cid)) == bytes(token.image.data or b"")
        steps = TokenTransition.objects.filter(token_id=token.pk).order_by("pk")
        assert [step.to_status for step in steps] == [
            "detected", "generating", "uploading", "ready", "revealed",
        ]  # fmt: skip
