"""What a reorg does to tokens that are ready: nothing is revealed for a mint that is gone."""

from __future__ import annotations

import pytest

from authors.tests.factories import AuthorFactory
from glisk.clients.chain import ChainClient
from reveals.models import RevealTransaction
from reveals.tests.stage import Scene
from sandbox.accounts import AUTHORS
from tokens.models import Token
from tokens.recovery.scan import scan_chain
from tokens.states import TokenStatus
from tokens.tests.stage import Start

pytestmark = pytest.mark.django_db

FOX, LIGHTHOUSE = AUTHORS[0].address, AUTHORS[1].address


@pytest.fixture
def reader(scene: Scene) -> ChainClient:
    AuthorFactory.create(wallet_address=LIGHTHOUSE, prompt_text="a lighthouse at night")
    return ChainClient.from_settings()


def reveals(scene: Scene) -> list[int]:
    return [i for reveal in scene.chain.reveal_transactions() for i in reveal.token_ids]


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_a_mint_that_is_gone_is_never_revealed(
    worker: Start, scene: Scene, reader: ChainClient, depth: int
) -> None:
    kept, gone = scene.mint()[0], scene.mint()[0]
    if depth > 1:
        scene.chain.mine(depth - 1)
    scene.chain.reorg(depth)
    drain = worker()
    drain.until(lambda: scene.revealed_once([kept]))
    drain.settle(0.3)
    assert reveals(scene) == [kept.token_id]
    scan_chain(reader)
    scene.chain.mine(2)
    assert scan_chain(reader).reorgs.retired
    drain.settle(0.3)
    assert reveals(scene) == [kept.token_id]
    assert not Token.objects.filter(pk=gone.pk).exists()


def test_a_token_that_another_author_got_is_not_revealed_with_the_old_art(
    worker: Start, scene: Scene, reader: ChainClient
) -> None:
    (token,) = scene.mint(author=FOX)
    scene.chain.reorg(1)
    scene.chain.wait(scene.chain.mint(2, LIGHTHOUSE))
    drain = worker()
    scan_chain(reader)
    drain.settle(0.3)
    scene.chain.mine(2)
    scan_chain(reader)
    drain.settle(0.3)
    assert reveals(scene) == []
    assert not RevealTransaction.objects.exists()
    anew = Token.objects.get(pk=token.pk)
    assert (anew.status, anew.prompt) == (TokenStatus.DETECTED, "a lighthouse at night")
    assert anew.prompt_author_wallet == scene.chain.token_prompt_author(token.pk) == LIGHTHOUSE
