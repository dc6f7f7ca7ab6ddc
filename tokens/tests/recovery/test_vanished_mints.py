"""Reorgs on a real node: mints that are gone for good, and what was paid for them."""

from __future__ import annotations

import pytest
from django.db import connection

from glisk.clients.chain import ChainClient
from glisk.timing import timing
from reveals.tests.factories import RevealBatchFactory
from sandbox.chain import DemoChain
from tokens.models import ImageGenerationJob, MintEvent, Token, TokenTransition
from tokens.models.job import JobStatus
from tokens.recovery.progress import load
from tokens.states import TokenStatus
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.stage import (
    DEPTHS,
    FOX,
    LIGHTHOUSE,
    bury,
    look,
    look_until_sure,
    mint,
    states,
)
from tokens.transitions.claims import claim_for_generation

pytestmark = pytest.mark.django_db

CID = "QmNv2Te3poKDS6kPeVUDbwXXsAY6FyFzC8xPxuBkJvDvdS"


@pytest.mark.parametrize("depth", DEPTHS)
def test_tokens_of_a_mint_that_is_gone_are_withdrawn(
    chain: DemoChain, reader: ChainClient, depth: int
) -> None:
    kept = mint(chain, LIGHTHOUSE)
    mint(chain, FOX, 3)
    bury(chain, depth)
    look(reader)
    chain.reorg(depth)
    report = look(reader)
    assert len(report.suspected) == 1
    assert len(states()) == 4
    chain.mine(2)
    assert len(look(reader).retired) == 1
    assert_equal_to_chain(chain)
    assert list(MintEvent.objects.values_list("tx_hash", flat=True)) == [kept]
    withdrawn = TokenTransition.objects.filter(to_status="").values_list("token_id", flat=True)
    assert sorted(withdrawn) == [2, 3, 4]
    assert load()[1].suspects == {}


def test_a_token_whose_reveal_is_under_way_is_left_to_it(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain)
    look(reader)
    Token.objects.update(status=TokenStatus.READY, image_cid=CID, metadata_cid=CID)
    batch = RevealBatchFactory.create(tokens=[Token.objects.get()])
    chain.reorg(1)
    look_until_sure(chain, reader)
    assert MintEvent.objects.get().pk == Token.objects.get().mint_event_id
    batch.items.update(is_open=False)  # its transaction reverts, since nobody minted the id
    look_until_sure(chain, reader)
    assert not Token.objects.exists()


def test_nothing_new_begins_for_tokens_whose_mint_is_missed(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    chain.reorg(1)
    look(reader)
    assert claim_for_generation(owner="worker", limit=10) == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(next_attempt_at) > now() FROM tokens_s0")
        assert cursor.fetchone() == (True,)


def test_where_blocks_are_rare_time_takes_their_place(
    chain: DemoChain, reader: ChainClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    mint(chain)
    look(reader)
    chain.reorg(1)
    look(reader)
    assert Token.objects.exists()
    monkeypatch.setattr(timing, "reorg_patience", 0.0)
    look(reader)
    assert not Token.objects.exists()


def test_a_transaction_that_fails_in_its_new_block_mints_nothing(
    chain: DemoChain, reader: ChainClient
) -> None:
    """The price went up before it: the receipt exists, without a log."""
    tx_hash = mint(chain)
    look(reader)
    raise_price = chain.send(0, "setMintPrice", 10**18)
    chain.wait(raise_price)
    chain.reorg(2, keep=[(raise_price, 0), (tx_hash, 1)])
    assert chain.wait(tx_hash)["status"] == 0
    look_until_sure(chain, reader)
    assert not Token.objects.exists()
    assert not MintEvent.objects.exists()


def test_what_was_paid_for_stays_in_the_books(chain: DemoChain, reader: ChainClient) -> None:
    mint(chain, FOX, 2)
    look(reader)
    submitted, created = (
        ImageGenerationJob.objects.create(
            token_id=token_id,
            prompt="a fox in the snow",
            input={"seed": token_id},
            service="replicate",
            model="m",
            external_id=external_id,
            attempt_number=1,
            status=status,
            cost_usd=cost,
        )
        for token_id, external_id, status, cost in (
            (1, "prediction1", JobStatus.SUBMITTED, "0.003"),
            (2, None, JobStatus.CREATED, None),
        )
    )
    chain.reorg(1)
    look_until_sure(chain, reader)
    submitted.refresh_from_db()
    created.refresh_from_db()
    assert (submitted.status, str(submitted.cost_usd)) == (JobStatus.FAILED, "0.003000")
    # Should its reply still come, it finds the job as one that was given up.
    assert (created.status, created.error_class) == (JobStatus.REJECTED, "withdrawn")
