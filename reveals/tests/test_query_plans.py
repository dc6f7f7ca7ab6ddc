"""The reveal's choice of tokens reads by index only."""

from collections.abc import Callable
from typing import Any

import pytest

from reveals.candidates import seconds_until_due, waiting_tokens
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("table")
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
