"""Every query of the pipeline finds its rows by the index that was made for it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from authors.factories import wallet
from glisk.clock import database_now
from tokens.api.reads import author_page, author_total, progress_page
from tokens.models import Token
from tokens.models.job import JobService, JobStatus
from tokens.pipeline.jobs import OpenJobs, external_ids_near
from tokens.states import TokenStatus
from tokens.tests.plans import assert_uses, plans, table
from tokens.transitions import claims

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db


@pytest.mark.usefixtures("table")
def test_a_query_uses_its_index(plans: list[str]) -> None:
    queries: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: claims.claim_for_generation(owner="w", limit=10, lease_seconds=60),
            "token_claim_generation",
        ),
        (
            lambda: claims.claim_for_upload(owner="w", limit=10, lease_seconds=60),
            "token_claim_upload",
        ),
        (
            lambda: claims.seconds_until_next_attempt(TokenStatus.DETECTED, TokenStatus.UPLOADING),
            "token_waiting",
        ),
        (claims.rescue_stalled, "token_leased"),
        (lambda: claims.release_leases_of("w"), "token_leased"),
    ]
    for query, index in queries:
        plans.clear()
        query()
        (plan,) = plans
        assert_uses(plan, index)


@pytest.mark.usefixtures("table")
def test_what_is_paid_for_is_found_by_its_open_jobs(plans: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO image_generation_jobs (token_id, prompt, input, service, model, "
            "external_id, attempt_number, status, error_class, error, created_at) "
            "SELECT i, 'p', '{}', 'replicate', 'm', 'e' || i, 1, "
            "CASE i % 1000 WHEN 7 THEN 'submitted' ELSE 'captured' END, '', '', now() "
            "FROM generate_series(1, 5000) AS i"
        )
        cursor.execute("ANALYZE image_generation_jobs")
    open_jobs = OpenJobs()
    open_jobs.read()
    assert open_jobs.waiting(JobStatus.SUBMITTED, JobService.REPLICATE) == 5
    found = claims.claim_jobs(owner="w", limit=10, lease_seconds=60, statuses=[JobStatus.SUBMITTED])
    assert {claim.token_id % 1000 for claim in found} == {7}
    for plan in plans:
        assert "generation_job_o" in plan, [
            w for w in plan.split('"') if w.startswith(("generation_job", "token_", "Seq"))
        ]


@pytest.mark.usefixtures("table")
def test_the_calls_of_an_hour_are_found_by_their_time(plans: list[str]) -> None:
    """Each look for a lost reply asks for them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO image_generation_jobs (token_id, prompt, input, service, model, "
            "external_id, attempt_number, status, cost_usd, error_class, error, created_at) "
            "SELECT i, 'p', '{}', 'replicate', 'm', 'e' || i, 1, 'captured', 0.003, '', '', "
            "now() - i * interval '1 hour' FROM generate_series(1, 5000) AS i"
        )
        cursor.execute("ANALYZE image_generation_jobs")
    assert external_ids_near(database_now() - timedelta(hours=100)) >= {"e100"}
    (plan,) = plans
    assert_uses(plan, "generation_job_spend")


@pytest.mark.usefixtures("table")
def test_what_the_public_reads_uses_an_index(plans: list[str]) -> None:
    queries: list[tuple[Callable[[str], Any], str]] = [
        (lambda who: author_page(who, offset=0, limit=20), "token_prompt_author"),
        (lambda who: author_page(who, offset=10_000, limit=20), "token_prompt_author"),
        (author_total, "token_prompt_author"),
        (lambda who: progress_page(who, limit=100), "token_minter"),
        (lambda who: progress_page(who, limit=100), "token_prompt_author"),
        (lambda who: list(Token.objects.newest_first(minter=who)[:20]), "token_minter"),
    ]
    for number, (query, index) in enumerate(queries):
        plans.clear()
        query(wallet(0xFEED + number))  # no total of them is remembered
        assert_uses("".join(plans), index)
