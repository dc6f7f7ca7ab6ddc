"""The totals are exact, by state and by author, and no revealed token is read for them."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from authors.figures import AuthorFigures, figures_of
from authors.tests.factories import AuthorFactory, wallet
from tokens.models import Token
from tokens.recovery.progress import Memory, save_memory
from tokens.states import TokenStatus
from tokens.tests.factories import MintEventFactory, TokenFactory
from tokens.tests.plans import plans, table
from tokens.totals import count_by_state, error_rate_24h

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db

LIST = "/admin/authors/author/"


def numbers() -> dict[str, int]:
    return {str(count.status): count.number for count in count_by_state()}


def test_every_state_is_counted_in_order_and_the_oldest_told_of_what_waits() -> None:
    for status, number in (("ready", 2), ("revealed", 3), ("failed", 1)):
        TokenFactory.create_batch(number, status=status)
    assert [*numbers()] == TokenStatus.values
    assert [*numbers().values()] == [0, 0, 0, 2, 3, 1]
    long_ago = timezone.now() - timedelta(hours=3)
    Token.objects.filter(pk=Token.objects.ready()[0].pk).update(status_changed_at=long_ago)
    oldest = {count.status: count.oldest_at for count in count_by_state()}
    assert oldest[TokenStatus.READY] == long_ago
    assert oldest[TokenStatus.REVEALED] is None


def test_what_the_looks_know_changes_no_number() -> None:
    for token_id in (1, 2, 3, 4, 6):
        status = TokenStatus.REVEALED if token_id < 3 else TokenStatus.DETECTED
        TokenFactory.create(token_id=token_id, status=status)
    for known_below in (1, 3, 5):
        save_memory(Memory(known_below=known_below))
        assert (numbers()["revealed"], numbers()["detected"]) == (2, 3)


@pytest.mark.usefixtures("table")
def test_a_long_table_is_read_by_indexes(plans: list[str]) -> None:
    with connection.cursor() as cursor:  # as it is: nearly all was revealed long ago
        cursor.execute("DELETE FROM tokens_s0 WHERE status <> 'revealed' AND token_id > 500")
        cursor.execute("UPDATE tokens_s0 SET status_changed_at = now() - interval '2 days'")
        cursor.execute("ANALYZE tokens_s0")
    save_memory(Memory(known_below=8_001))
    plans.clear()
    count_by_state()
    error_rate_24h()
    counts, rate = plans
    assert '"Node Type": "Seq Scan"' not in counts
    assert '"Index Name": "token_ended"' in rate


def test_tokens_and_earnings_go_by_the_wallet_on_chain() -> None:
    first, second, nobody = wallet(1), wallet(2), wallet(3)
    MintEventFactory.create(prompt_author=first, quantity=2, total_paid_wei=500)
    MintEventFactory.create(prompt_author=first, quantity=1, total_paid_wei=251)
    MintEventFactory.create(prompt_author=second, quantity=50, total_paid_wei=10**77)
    assert figures_of([first, second, nobody]) == {
        first: AuthorFigures(tokens=3, earned_at_most_wei=375),
        second: AuthorFigures(tokens=50, earned_at_most_wei=10**77 // 2),
    }


def test_pages_of_authors_have_them_and_ask_once(admin_client: Client) -> None:
    for number in range(7):
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
    assert "3 ETH" in page
    page = admin_client.get(f"{LIST}{author.pk}/change/").content.decode()
    assert ">7</a>" in page
    assert "3.5 ETH" in page
