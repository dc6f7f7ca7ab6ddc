"""A scrape costs the same with a million tokens: nothing that is past is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from tokens.recovery.progress import load, save_memory
from tokens.tests.plans import plans, table

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.usefixtures("table")
def test_no_scrape_reads_the_table_of_tokens(client: Client, plans: list[str]) -> None:
    memory = load()[1]
    memory.known_below = 8001
    save_memory(memory)
    with connection.cursor() as cursor:  # nearly all are revealed
        cursor.execute("DELETE FROM tokens_s0 WHERE status <> 'revealed' AND token_id > 100")
        cursor.execute(
            "UPDATE tokens_s0 SET status_changed_at = now() - token_id * interval '1 hour'"
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tokens_s0")
    plans.clear()
    assert client.get("/metrics").status_code == 200
    assert len(plans) >= 4
    for plan in plans:
        for node in nodes(json.loads(plan)[0][0][0]["Plan"]):
            if node.get("Relation Name") == "tokens_s0":
                assert node["Node Type"] != "Seq Scan", plan
                assert node["Plan Rows"] < 2000, plan
