"""What an author's wallet has brought about, registered or not, overpaid or not."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from authors.factories import AuthorFactory, wallet
from authors.figures import AuthorFigures, figures_of
from tokens.factories import MintEventFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/authors/author/"


def test_tokens_and_earnings_go_by_the_wallet_on_chain() -> None:
    first, second, nobody = wallet(1), wallet(2), wallet(3)
    MintEventFactory.create(prompt_author=first, quantity=2, total_paid_wei=500)
    MintEventFactory.create(prompt_author=first, quantity=1, total_paid_wei=251)
    MintEventFactory.create(prompt_author=second, quantity=50, total_paid_wei=10**77)
    assert figures_of([first, second, nobody]) == {
        first: AuthorFigures(tokens=3, earned_at_most_wei=375),
        second: AuthorFigures(tokens=50, earned_at_most_wei=10**77 // 2),
    }


def test_a_page_of_authors_asks_once(admin_client: Client) -> None:
    for number in range(12):
        author = AuthorFactory.create()
        MintEventFactory.create(
            prompt_author=author.wallet_address,
            quantity=number + 1,
            total_paid_wei=10**18 * (number + 1),
        )
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as captured:
        page = admin_client.get(LIST).content.decode()
    assert len([query for query in captured if "mint_events" in query["sql"]]) == 1
    assert "6 ETH" in page


def test_the_authors_own_page_has_them(admin_client: Client) -> None:
    author = AuthorFactory.create()
    MintEventFactory.create(prompt_author=author.wallet_address, quantity=7, total_paid_wei=10**18)
    page = admin_client.get(f"{LIST}{author.pk}/change/").content.decode()
    assert ">7</a>" in page
    assert "0.5 ETH" in page
