"""Reorgs that go deeper than every look watches: the node of this module is young enough."""

import pytest

from glisk.clients.chain import ChainClient
from sandbox.chain import DemoChain
from tokens.models import MintEvent, Token
from tokens.recovery import backfill
from tokens.tests.recovery.conftest import assert_equal_to_chain
from tokens.tests.recovery.stage import (
    FOX,
    LIGHTHOUSE,
    look,
    look_until_sure,
    mint,
    told_by_webhook,
)

pytestmark = pytest.mark.django_db


def test_a_reorg_deeper_than_any_that_is_watched_is_found_by_its_mints(
    chain: DemoChain, reader: ChainClient
) -> None:
    mint(chain, FOX, 2)
    chain.mine(backfill.settled_depth())
    look(reader)
    assert not MintEvent.objects.filter(settled_at=None).exists()
    chain.reorg(backfill.settled_depth() + 1)
    mint(chain, LIGHTHOUSE, 2)
    look(reader)
    assert set(Token.objects.values_list("prompt", flat=True)) == {"a fox in the snow"}
    told_by_webhook(chain)
    assert MintEvent.objects.filter(settled_at=None).count() == 2
    look_until_sure(chain, reader)
    assert_equal_to_chain(chain)
