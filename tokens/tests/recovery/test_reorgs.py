"""Reorgs on a real node: mints move or change hands, and the database follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token, TokenTransition
from tokens.models.mint import MintSource
from tokens.recovery.proof import _as_log as log_of
from tokens.recovery.reorgs import _move
from tokens.recovery.scan import scan_chain
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
    told_by_webhook,
)

pytestmark = pytest.mark.django_db

NEW_BLOCK = "0x" + "b" * 64


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("source", MintSource.values)
def test_a_mint_follows_its_transaction_into_another_block(
    chain: DemoChain, reader: ChainClient, depth: int, source: str
) -> None:
    tx_hash = mint(chain, FOX, 3)
    if source == MintSource.WEBHOOK:
        told_by_webhook(chain)
    bury(chain, depth)
    look(reader)
    Token.objects.filter(pk=2).update(status=TokenStatus.GENERATING)
    chain.reorg(depth, keep=[(tx_hash, depth - 1)])
    assert look(reader).moved == [tx_hash]
    assert_equal_to_chain(chain)
    assert states() == {1: "detected", 2: "generating", 3: "detected"}
    assert MintEvent.objects.count() == 1


def test_mints_that_change_places_in_a_block_keep_their_events_apart(
    chain: DemoChain, reader: ChainClient
) -> None:
    """Their log indexes are exchanged, which no moment may see as two of one."""
    tx_hash = mint(chain, FOX)
    look(reader)
    own = MintEvent.objects.get()
    other = MintEvent.objects.get()
    other.pk, other.log_index = None, own.log_index + 1
    other.start_token_id = own.start_token_id + 1
    other.save()
    first, second = (replace(log_of(event), block_hash=NEW_BLOCK) for event in (own, other))
    moves = [
        (own, replace(first, log_index=second.log_index)),
        (other, replace(second, log_index=first.log_index)),
    ]
    assert _move(moves) == 2
    moved = MintEvent.objects.filter(tx_hash=tx_hash, block_hash=NEW_BLOCK).order_by("log_index")
    assert [event.pk for event in moved] == [other.pk, own.pk]


def test_one_mint_that_two_deliveries_stored_becomes_one(
    chain: DemoChain, reader: ChainClient
) -> None:
    """Two deliveries at the same moment, each of another block, do not see each other."""
    first, second = mint(chain, FOX), mint(chain, LIGHTHOUSE)
    look(reader)
    chain.reorg(2, keep=[(first, 0), (second, 0)])
    event = MintEvent.objects.get(tx_hash=second)
    log = next(log for log in told_by_webhook(chain) if log.tx_hash == second)
    MintEvent.objects.create(
        tx_hash=second,
        log_index=log.log_index,
        block_number=log.block_number,
        block_hash=log.block_hash,
        block_timestamp=log.block_timestamp,
        minter=event.minter,
        prompt_author=event.prompt_author,
        start_token_id=event.start_token_id,
        quantity=1,
        total_paid_wei=event.total_paid_wei,
        source=MintSource.WEBHOOK,
    )
    Token.objects.filter(pk=2).update(mint_timestamp="2026-01-01T00:00Z")  # of the old block
    look(reader)
    assert_equal_to_chain(chain)


@pytest.mark.parametrize("depth", DEPTHS)
def test_tokens_that_another_author_got_are_made_anew(
    chain: DemoChain, reader: ChainClient, depth: int
) -> None:
    mint(chain, FOX, 2)
    bury(chain, depth)
    look(reader)
    Token.objects.update(status=TokenStatus.GENERATING, generation_attempts=1)
    chain.reorg(depth)
    mint(chain, LIGHTHOUSE, 3)
    told_by_webhook(chain)
    report = look_until_sure(chain, reader)
    assert len(report.retired) == 1
    assert_equal_to_chain(chain)
    assert states() == dict.fromkeys((1, 2, 3), "detected")
    assert set(Token.objects.values_list("generation_attempts", flat=True)) == {0}
    assert scan_chain(reader).complete


def test_what_was_made_for_the_same_author_is_not_paid_for_again(
    chain: DemoChain, reader: ChainClient
) -> None:
    """The collector's wallet replaced the transaction by one with a higher fee."""
    mint(chain, FOX, 2)
    look(reader)
    Token.objects.update(status=TokenStatus.GENERATING, generation_attempts=1)
    chain.reorg(1)
    replacement = mint(chain, FOX, 2, minter=2)
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)
    assert states() == {1: "generating", 2: "generating"}
    reasons = TokenTransition.objects.filter(token_id=1).values_list("reason", flat=True)
    assert any(replacement in reason for reason in reasons)
