"""Reorgs on a real node under tokens that are revealed, or being revealed."""

from __future__ import annotations

import pytest
from django.db import connection

from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from tokens.models import Token
from tokens.states import TokenStatus
from tokens.tests.recovery.stage import (
    FOX,
    LIGHTHOUSE,
    look,
    look_until_sure,
    mint,
    reveal_here,
    states,
)
from tokens.tests.repairs.stock import put_in_batch

pytestmark = pytest.mark.django_db


def test_a_token_in_a_transaction_under_way_waits_for_its_end(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    put_in_batch(Token.objects.get(pk=1))
    chain.reorg(1)
    assert len(look_until_sure(chain, reader).waiting) == 1
    assert len(states()) == 2
    with connection.cursor() as cursor:
        cursor.execute("UPDATE reveal_batch_tokens SET is_open = false")
    chain.mine(1)
    assert len(look(reader).retired) == 1
    assert states() == {}


def test_a_revealed_token_that_nobody_minted_stays_for_a_person(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, FOX, 2)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    chain.wait(chain.reveal(0, [1], ["ipfs://ours"]))
    look_until_sure(chain, reader)
    assert states() == {1: "revealed"}
    assert Token.objects.get().mint_event is None


def test_a_revealed_token_is_handed_to_whom_the_chain_names(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, FOX)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    chain.wait(chain.reveal(0, [1], ["ipfs://ours"]))
    mint(chain, LIGHTHOUSE, minter=3)
    look_until_sure(chain, reader)
    token = Token.objects.select_related("author", "mint_event").get()
    assert token.status == TokenStatus.REVEALED
    assert token.prompt_author_wallet == token.author.wallet_address == LIGHTHOUSE
    assert token.mint_event is not None
    assert token.minter_address == chain.owner_of(1)
    assert token.prompt == "a fox in the snow"  # what its art was made of


def test_our_own_reveal_that_a_reorg_took_too_is_left_to_its_watch(
    chain: DemoChain, reader: ChainClient
) -> None:
    """Our signed transaction may be mined again: the token must not be made anew meanwhile."""
    mint(chain, FOX)
    look(reader)
    reveal_here(1)
    chain.reorg(1)
    mint(chain, LIGHTHOUSE)
    assert len(look_until_sure(chain, reader).waiting) == 1
    assert states() == {1: "revealed"}
