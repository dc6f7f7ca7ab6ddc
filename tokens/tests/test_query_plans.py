"""Every query of the pipeline finds its rows by the index that was made for it."""

from collections.abc import Callable
from typing import Any

import pytest

from tokens import claims
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            lambda: claims.claim_for_generation(owner="w", limit=10, lease_seconds=60),
            "token_claim_generation",
        ),
        (
            lambda: claims.claim_for_upload(owner="w", limit=10, lease_seconds=60),
            "token_claim_upload",
        ),
        (claims.seconds_until_next_attempt, "token_waiting"),
        (claims.rescue_stalled, "token_leased"),
        (lambda: claims.release_leases_of("w"), "token_leased"),
    ],
    ids=["generation", "upload", "next", "rescue", "release"],
)
def test_a_query_uses_its_index(
    plans: list[str],
    query: Callable[[], Any],
    index: str,
) -> None:
    query()
    (plan,) = plans
    assert_uses(plan, index)
