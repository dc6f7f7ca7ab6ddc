"""Whether the system is well, for probes and monitors, and how it stands, for scripts.

No foreign machine is asked.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from glisk.api.views import REFUSALS, OperationsView
from glisk.clock import database_now
from glisk.console.overview import take_overview
from glisk.console.overview.system import chain_facts
from reveals.keeper import keeper_state
from tokens.states import TokenStatus
from tokens.totals import count_by_state, error_rate_24h, spend_totals

logger = structlog.get_logger(__name__)

# A probe must answer while the pool is exhausted or the network swallows packets: it has a
# connection of its own, and every phase of it has an end.
_PROBE_LIMITS = {"connect_timeout": 2, "tcp_user_timeout": 2000}
_UNHEALTHY = {
    "status": "unhealthy",
    "error": {"type": "DatabaseUnavailable", "message": "The database does not answer."},
}
# By the workers themselves, and by the pages of chain and keeper.
_TOLD_ELSEWHERE = {"worker", "chain", "keeper"}
Facts = Callable[[], dict[str, Any] | None]


def page(summary: str) -> Callable[[Facts], Callable[..., HttpResponse]]:
    """Make a page of facts; it answers 503 without them, and never with an exception's text."""

    def decorate(facts: Facts) -> Callable[..., HttpResponse]:
        @extend_schema(
            operation_id=facts.__name__,
            tags=["health"],
            summary=summary,
            responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT},
            examples=[OpenApiExample("unhealthy", value=_UNHEALTHY, status_codes=["503"])],
        )
        @api_view(["GET", "HEAD"])
        @never_cache
        def view(request: Request) -> JsonResponse:
            try:
                found = facts()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("health_page_failed", error=type(error).__name__)
                found = None
            return JsonResponse(_UNHEALTHY, status=503) if found is None else JsonResponse(found)

        answer: Callable[..., HttpResponse] = view
        return answer

    return decorate


@page("Whether the database answers")
def health() -> dict[str, Any] | None:
    given = connection.get_connection_params()  # as they stand in DATABASE_URL, TLS's too
    options = f"{given.get('options', '')} -c statement_timeout=2s"
    parameters: dict[str, Any] = {**given, **_PROBE_LIMITS, "options": options}
    try:
        with psycopg.connect(**parameters, autocommit=True) as probe:
            probe.execute("SELECT 1")
    except psycopg.Error as error:
        logger.warning("database_unreachable", error=type(error).__name__)
        return None
    return {"status": "healthy"}


@page("How far the chain has been read")
def health_blockchain() -> dict[str, Any]:
    """Return the chain's facts; `status` is `stale` while nobody looks at the chain."""
    facts = chain_facts()
    return {
        "status": "healthy" if facts.is_fresh else "stale",
        "chain_id": facts.chain_id,
        "last_processed_block": facts.last_processed_block,
        "blocks_behind": facts.blocks_behind,
        "read_age_seconds": _age(facts.read_at),
    }


@page("The workers that are alive, what waits and moves in each stage, and what holds it back")
def health_workers() -> dict[str, Any]:
    view = take_overview()
    return {
        "pending_jobs": sum(load.pending for load in view.stages),
        "active_jobs": sum(load.active for load in view.stages),
        "workers": [
            {
                "stage": worker.stage,
                "in_flight": worker.in_flight,
                "started_at": worker.started_at,
                "beat_age_seconds": _age(worker.beat_at),
                "last_progress_at": worker.last_progress_at,
            }
            for worker in view.workers
            if worker.alive
        ],
        "stages": [
            {
                "stage": load.stage,
                "pending": load.pending,
                "active": load.active,
                "oldest_age_seconds": _age(load.oldest_at),
            }
            for load in view.stages
        ],
        # Without the vendors' words: anybody may ask.
        "held_back": [
            {
                "kind": one.kind,
                "name": one.name,
                "age_seconds": _age(one.since),
                "tokens": one.tokens,
            }
            for one in view.troubles
            if one.kind not in _TOLD_ELSEWHERE
        ],
    }


@page("Whether the keeper can reveal, and why not")
def health_keeper() -> dict[str, Any]:
    return asdict(keeper_state())


@page("Totals since the first mint, the error rate of the last day, the spend")
def health_metrics() -> dict[str, Any]:
    """Return the totals; the error rate is the failed share of what ended in the last day."""
    numbers = {count.status: count.number for count in count_by_state()}
    spend = spend_totals()
    return {
        "total_mints": sum(numbers.values()),
        "total_revealed": numbers[TokenStatus.REVEALED],
        "error_rate_24h": error_rate_24h(),
        "spend_today_usd": float(spend.today_usd),
        "spend_all_time_usd": float(spend.all_time_usd),
        "spend_cap_usd": None if spend.cap_usd is None else float(spend.cap_usd),
    }


def _age(moment: datetime | None) -> float | None:
    return None if moment is None else round((database_now() - moment).total_seconds(), 1)


class SystemStateView(OperationsView):
    permission = "glisk.view_systemstate"

    @extend_schema(
        operation_id="system_state",
        tags=["operations"],
        summary="How the whole system stands",
        description="Tokens by state, stages, reveals under way, spend, workers, what holds work "
        "back, and how far the chain has been read. `manage.py pipeline_status --json` prints "
        "the same.",
        responses={200: OpenApiTypes.OBJECT, **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        return Response(take_overview().as_json())
