"""An operator asks the chain about tokens: what agrees, what is adopted, what is only named."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk.clients.chain import ChainClient
from glisk.errors import TransientError
from sandbox.accounts import AUTHORS
from sandbox.chain import DemoChain
from sandbox.node import free_port
from tokens.models import MintEvent, Token, TokenTransition
from tokens.recovery.scan import scan_chain
from tokens.repairs import RepairResult, recheck_tokens
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from tokens.tests.recovery.stage import URI, reveal
from tokens.tests.repairs.stock import put_in_batch

pytestmark = pytest.mark.django_db

ACTOR = "operator alice"


@pytest.fixture
def known(chain: DemoChain, reader: ChainClient) -> DemoChain:
    """One mint of two tokens, known here."""
    chain.wait(chain.mint(1, AUTHORS[0].address, 2))
    scan_chain(reader)
    return chain


def recheck(*token_ids: int) -> list[RepairResult]:
    return recheck_tokens(token_ids=token_ids, actor=ACTOR)


@pytest.mark.usefixtures("known")
def test_what_agrees_is_left_as_it_is() -> None:
    Token.objects.get(pk=2).mark_failed("It broke.")
    first, second, third = recheck(1, 2, 7)
    assert (first.done, first.message) == (True, "Minted by this author and not revealed.")
    assert second.done
    assert "may be retried" in second.message
    assert (third.done, third.message) == (False, "There is no token 7 here.")
    assert not TokenTransition.objects.filter(actor=ACTOR).exists()


def test_what_others_revealed_is_adopted_once(known: DemoChain) -> None:
    reveal(known, 1)
    assert "Adopted" in recheck_tokens(token_ids=[1], actor=ACTOR, dry_run=True)[0].message
    assert Token.objects.get(pk=1).status == TokenStatus.DETECTED
    assert "Adopted" in recheck(1)[0].message
    token = Token.objects.get(pk=1)
    assert (token.status, token.token_uri) == (TokenStatus.REVEALED, URI)
    assert recheck(1)[0].message == "Revealed, here and on chain."
    assert TokenTransition.objects.filter(actor=ACTOR).count() == 1


def test_a_transaction_of_ours_keeps_its_token(known: DemoChain) -> None:
    reveal(known, 1)
    put_in_batch(Token.objects.get(pk=1))
    (result,) = recheck(1)
    assert not result.done
    assert "receipt" in result.message
    assert Token.objects.get(pk=1).status == TokenStatus.DETECTED


def test_what_contradicts_is_named_and_looked_at_again(known: DemoChain) -> None:
    MintEvent.objects.update(settled_at="2026-01-01T00:00Z")
    Token.objects.filter(pk=1).update(prompt_author_wallet=wallet(5))
    Token.objects.filter(pk=2).update(
        status="revealed", image_cid="c", metadata_cid="c", reveal_tx_hash=hash32(3)
    )
    TokenFactory.create(token_id=9)
    author, revealed, unknown = recheck(1, 2, 9)
    assert not (author.done or revealed.done or unknown.done)
    assert "On chain the author is" in author.message
    assert MintEvent.objects.get(start_token_id=1).settled_at is None
    assert "not on chain" in revealed.message
    assert "does not know it" in unknown.message
    reveal(known, 2)
    assert "not ours" in recheck(2)[0].message


@pytest.mark.usefixtures("known")
def test_a_node_that_does_not_answer_is_said(settings: Settings) -> None:
    settings.RPC_URL = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TransientError):
        recheck(1)
