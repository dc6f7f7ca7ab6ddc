"""The reveal's choice of tokens reads by index only."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from authors.factories import wallet
from reveals.candidates import seconds_until_due, waiting_tokens
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def batches(table: None) -> None:
    """Batches of every revealed token; without rows, the planner's choice is one of chance."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO reveal_batches (keeper, nonce, status, created_at) "
            "SELECT %s, id, 'confirmed', now() FROM generate_series(1, 300) AS id",
            [wallet(0x4B)],
        )
        cursor.execute(
            "INSERT INTO reveal_batch_tokens (batch_id, token_id, position, metadata_uri, is_open) "
            "SELECT (SELECT min(id) FROM reveal_batches) + token_id % 300, token_id, 0, "
            "'ipfs://' || repeat('Q', 46), false FROM tokens_s0 WHERE status = 'revealed'"
        )
        cursor.execute("ANALYZE reveal_batches, reveal_batch_tokens")


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize(
    ("query", "index"),
    [(lambda: waiting_tokens(250), "token_ready"), (seconds_until_due, "token_waiting")],
    ids=["ready", "due"],
)
def test_a_query_uses_its_index(
    plans: list[str],
    query: Callable[[], Any],
    index: str,
) -> None:
    query()
    (plan,) = plans
    assert_uses(plan, index)
