"""What the admin asks of long tables is answered by an index."""

import pytest
from django.db import connection
from django.test import Client

from tokens.factories import hash32
from tokens.models import Token
from tokens.tests.plans import assert_uses, plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("table")
def test_a_search_uses_its_index(plans: list[str]) -> None:
    tokens = Token.objects
    for found, index in (
        (tokens.filter(reveal_tx_hash=hash32(0xABC)), "token_reveal_tx"),
        (tokens.filter(image_cid="x"), "token_image_cid"),
        (tokens.filter(metadata_cid="x"), "token_metadata_cid"),
        (tokens.filter(fallback_used=True).order_by("-token_id")[:50], "token_fallback"),
    ):
        plans.clear()
        list(found)
        (plan,) = plans
        assert_uses(plan, index)


def test_the_index_of_a_filter_is_there() -> None:
    for name, column in (
        ("upload_record_cid", "computed_cid"),
        ("upload_record_trouble", "status"),
        ("generation_job_trouble", "status"),
        ("mint_event_backfilled", "source"),
        ("mint_event_minter", "minter"),
        ("admin_log_object", "object_id"),
        ("webhook_event_ignored", "received_at"),
    ):
        with connection.cursor() as cursor:
            cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [name])
            (definition,) = cursor.fetchone()
        assert column in definition


@pytest.mark.usefixtures("table")
def test_the_newest_failures_are_found_by_their_time(
    admin_client: Client, plans: list[str]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE tokens_s0 SET status = 'failed', error_class = 'artefact', "
            "status_changed_at = now() - token_id * interval '1 minute' WHERE status = 'detected'"
        )
        cursor.execute("ANALYZE tokens_s0")
    for query in ("attention=failed_today", "failed=artefact"):
        plans.clear()
        assert admin_client.get(f"/admin/tokens/token/?{query}").status_code == 200
        listings = [plan for plan in plans if "token_ended" in plan]
        assert len(listings) >= 2, query  # the filter's classes, and the list
