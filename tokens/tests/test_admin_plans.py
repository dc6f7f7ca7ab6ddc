"""What the admin asks of long tables is answered by an index."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tokens.factories import hash32
from tokens.models import Token
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        (lambda: Token.objects.filter(reveal_tx_hash=hash32(0xABC)), "token_reveal_tx"),
        (lambda: Token.objects.filter(image_cid="x"), "token_image_cid"),
        (lambda: Token.objects.filter(metadata_cid="x"), "token_metadata_cid"),
        (
            lambda: Token.objects.filter(fallback_used=True).order_by("-token_id")[:50],
            "token_fallback",
        ),
    ],
    ids=["transaction", "image", "metadata", "fallback"],
)
def test_a_search_uses_its_index(plans: list[str], query: Callable[[], Any], index: str) -> None:
    list(query())
    (plan,) = plans
    assert_uses(plan, index)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("upload_record_cid", "computed_cid"),
        ("upload_record_trouble", "status"),
        ("generation_job_trouble", "status"),
        ("mint_event_backfilled", "source"),
    ],
)
def test_the_index_of_a_filter_is_there(name: str, column: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [name])
        (definition,) = cursor.fetchone()
    assert column in definition
