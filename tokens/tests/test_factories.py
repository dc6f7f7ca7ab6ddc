"""The factories keep to the database's rules in every state."""

import pytest

from tokens.factories import MintEventFactory, TokenFactory
from tokens.models import Token
from tokens.states import TokenStatus

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", TokenStatus)
def test_a_token_of_any_state_is_valid(status: TokenStatus) -> None:
    made = TokenFactory.create(status=status)
    token = Token.objects.get(pk=made.token_id)
    assert token.status == status
    assert token.mint_event is not None
    assert list(token.mint_event.token_ids) == [token.token_id]


def test_a_mint_says_which_tokens_it_made() -> None:
    mint = MintEventFactory.create(start_token_id=7, quantity=3)
    assert list(mint.token_ids) == [7, 8, 9]
