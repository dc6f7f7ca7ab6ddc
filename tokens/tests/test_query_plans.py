"""Every query finds its rows by the index that was made for it."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from authors.tests.factories import wallet
from glisk.clock import database_now
from glisk.console.overview.stages import groups
from tokens.api.reads import author_page, author_total
from tokens.models import Token
from tokens.models.job import JobService, JobStatus
from tokens.pipeline import poll
from tokens.pipeline.image_vendors import OpenJobs, free_places
from tokens.pipeline.jobs import external_ids_near
from tokens.repairs import retry_what_is_due
from tokens.states import TokenStatus
from tokens.tests.factories import hash32
from tokens.tests.plans import assert_uses, plans, table
from tokens.transitions import claims

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


JOBS = """
    INSERT INTO image_generation_jobs
        (token_id, prompt, input, service, model, external_id, attempt_number, status, cost_usd,
         error_class, error, created_at)
    SELECT i, 'p', '{}', 'replicate', 'm', 'e' || i, 1,
           CASE i % 1000 WHEN 7 THEN 'submitted' ELSE 'captured' END, 0.003, '', '',
           now() - i * interval '1 hour'
    FROM generate_series(1, 5000) AS i
"""


@pytest.mark.usefixtures("table")
def test_a_query_uses_its_index(plans: list[str]) -> None:
    tokens = Token.objects
    queries: list[tuple[Callable[[], Any], str]] = [
        # what the admin searches for, and what the public reads (no total is remembered)
        (lambda: list(tokens.filter(reveal_tx_hash=hash32(0xABC))), "token_reveal_tx"),
        (lambda: list(tokens.filter(image_cid="x")), "token_image_cid"),
        (lambda: list(tokens.filter(metadata_cid="x")), "token_metadata_cid"),
        (
            lambda: list(tokens.filter(fallback_used=True).order_by("-token_id")[:50]),
            "token_fallback",
        ),
        (lambda: author_page(wallet(0xFEE1), offset=0, limit=20), "token_prompt_author"),
        (lambda: author_page(wallet(0xFEE2), offset=10_000, limit=20), "token_prompt_author"),
        (lambda: author_total(wallet(0xFEE3)), "token_prompt_author"),
        (lambda: author_page(wallet(0xFEE4), offset=0, limit=100), "token_minter"),
        (lambda: author_page(wallet(0xFEE5), offset=0, limit=100), "token_prompt_author"),
        (lambda: list(tokens.newest_first(minter=wallet(0xFEE6))[:20]), "token_minter"),
        # what the pipeline claims
        (
            lambda: claims.seconds_until_next_attempt(TokenStatus.DETECTED, TokenStatus.UPLOADING),
            "token_waiting",
        ),
        (claims.rescue_stalled, "token_leased"),
        (lambda: claims.release_leases_of("w"), "token_leased"),
        (
            lambda: claims.claim_for_generation(owner="w", limit=10),
            "token_claim_generation",
        ),
        (
            lambda: claims.claim_for_upload(owner="w", limit=10),
            "token_claim_upload",
        ),
        (retry_what_is_due, "token_failed_due"),
    ]
    for query, index in queries:
        plans.clear()
        query()
        assert_uses("".join(plans), index)


@pytest.mark.usefixtures("table")
def test_jobs_are_found_by_what_is_open_and_by_their_time(plans: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(JOBS)
        cursor.execute("ANALYZE image_generation_jobs")
    open_jobs = OpenJobs()
    open_jobs.read()
    assert open_jobs.waiting(JobStatus.SUBMITTED, JobService.REPLICATE) == 5
    found = claims.claim_jobs(owner="w", limit=10, statuses=[JobStatus.SUBMITTED])
    assert {claim.token_id % 1000 for claim in found} == {7}
    for plan in plans:
        assert "generation_job_o" in plan, [
            w for w in plan.split('"') if w.startswith(("generation_job", "token_", "Seq"))
        ]
    plans.clear()  # each look for a lost reply asks for the calls of an hour
    assert external_ids_near(database_now() - timedelta(hours=100)) >= {"e100"}
    (plan,) = plans
    assert_uses(plan, "generation_job_spend")


@pytest.mark.usefixtures("table")
def test_a_drop_after_a_calm_time_finds_each_row_by_its_token(plans: list[str]) -> None:
    """The statistics know of no token under way and of no open job yet."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tokens_s0 WHERE status <> 'revealed'")
        cursor.execute(JOBS.replace("'submitted'", "'captured'"))
        cursor.execute("ANALYZE tokens_s0, image_generation_jobs")
        cursor.execute(
            "UPDATE tokens_s0 SET reveal_tx_hash = NULL, "
            "status = CASE token_id % 2 WHEN 0 THEN 'detected' ELSE 'generating' END "
            "WHERE token_id <= 1000"
        )
        cursor.execute(
            "UPDATE image_generation_jobs SET status = 'submitted' "
            "WHERE token_id <= 1000 AND token_id % 2 = 1"
        )
    plans.clear()
    OpenJobs().read()
    free_places(JobService.REPLICATE, most=None)
    claims.claim_for_generation(owner="w", limit=10)
    claims.claim_jobs(owner="w", limit=10, statuses=[JobStatus.SUBMITTED])
    poll._claim(within_seconds=60)
    groups()
    assert len(plans) >= 6
    inner = [node for plan in plans for node in inner_looks(json.loads(plan)[0][0][0]["Plan"])]
    assert inner
    for node in inner:
        condition = node.get("Index Cond") or node.get("Recheck Cond", "")
        assert re.search(r"\b(token_)?id = ", condition), node


def inner_looks(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the scans of big tables that are made again for each row of something else."""
    big = ("tokens_s0", "image_generation_jobs", "reveal_batch_tokens")
    for child in plan.get("Plans", ()):
        again = plan["Node Type"] == "Nested Loop" and child["Parent Relationship"] == "Inner"
        if again or child["Parent Relationship"] == "SubPlan":
            scan = child["Plans"][0] if child["Node Type"] in ("Limit", "Memoize") else child
            if scan.get("Relation Name") in big:
                yield scan
        yield from inner_looks(child)


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
