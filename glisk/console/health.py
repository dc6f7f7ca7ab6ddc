"""Whether the system is well, for probes and monitors, and how it stands, for scripts.

No foreign machine is asked. The public hears whether it is well, and what the chain shows anyway;
details, money and keys are for those who may read the metrics (glisk/metrics/access.py). With
`?strict=1` the status of a page whose text says that it is not well is 503.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import psycopg
import structlog
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from glisk import __version__
from glisk.api.views import REFUSALS, OperationsView
from glisk.clock import database_now
from glisk.console.overview import take_overview
from glisk.console.overview.causes import find_causes, one_for_one_cause
from glisk.console.overview.system import chain_facts
from glisk.database import unapplied_migrations
from glisk.metrics.access import may_read
from reveals.keeper import BLOCKED, EMPTY, LOW, OK, keeper_state
from reveals.keeper import KEY as KEEPER_KEY
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
_NOT_READY = {
    "status": "unhealthy",
    "error": {
        "type": "MigrationsMissing",
        "message": "The database lacks migrations: run `manage.py migrate`.",
    },
}
_has_migrations = False
# By the workers themselves, and by the pages of chain and keeper.
_TOLD_ELSEWHERE = {"worker", "chain", "keeper"}
# What keeps a whole stage from going on; the other troubles are of single tokens, or pass.
_BLOCKING = {"pause", "breaker", "keeper"}
# A page's facts: the first part is for everybody, the second one for those who may read it.
Facts = tuple[dict[str, Any], dict[str, Any]]


def page(summary: str) -> Callable[[Callable[[], Facts]], Callable[..., HttpResponse]]:
    """Make a page of facts; it answers 503 without them, and never with an exception's text."""

    def decorate(read: Callable[[], Facts]) -> Callable[..., HttpResponse]:
        @extend_schema(
            operation_id=read.__name__,
            tags=["health"],
            summary=summary,
            parameters=[
                OpenApiParameter("strict", str, description="1: 503 unless the status is well.")
            ],
            responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT},
            examples=[OpenApiExample("unhealthy", value=_UNHEALTHY, status_codes=["503"])],
        )
        @api_view(["GET", "HEAD"])
        @never_cache
        def view(request: Request) -> JsonResponse:
            try:
                public, internal = read()
            except (DatabaseError, InterfaceError, psycopg.Error) as error:
                logger.warning("health_page_failed", error=type(error).__name__)
                return JsonResponse(_UNHEALTHY, status=503)
            told = {**public, **internal} if may_read(request.META) else public
            is_well = public.get("status", "healthy") == "healthy"
            is_strict = request.query_params.get("strict") == "1"
            refused = "error" in public or (is_strict and not is_well)
            return JsonResponse(told, status=503 if refused else 200)

        answer: Callable[..., HttpResponse] = view
        return answer

    return decorate


@page("Check whether the database answers")
def health() -> Facts:
    _ask_database()
    return {"status": "healthy"}, {"version": __version__}


@page("Check whether this process answers; nothing else is asked")
def health_live() -> Facts:
    return {"status": "healthy"}, {}


@page("Check whether requests can be served: the database answers and has its migrations")
def health_ready() -> Facts:
    _ask_database()
    return ({"status": "healthy"} if _is_migrated() else _NOT_READY), {}


def _ask_database() -> None:
    """Raise psycopg.Error if no connection can be had, within seconds."""
    given = connection.get_connection_params()  # as they stand in DATABASE_URL, TLS's too
    options = f"{given.get('options', '')} -c statement_timeout=2s"
    parameters: dict[str, Any] = {**given, **_PROBE_LIMITS, "options": options}
    with psycopg.connect(**parameters, autocommit=True) as probe:
        probe.execute("SELECT 1")


def _is_migrated() -> bool:
    """Tell it; once it is so, the answer is kept: to look takes a tenth of a second of CPU."""
    global _has_migrations
    _has_migrations = _has_migrations or not unapplied_migrations()
    return _has_migrations


@page("Get how far the chain has been read")
def health_blockchain() -> Facts:
    """Return the chain's facts; `status` is `stale` while nobody looks at the chain."""
    facts = chain_facts()
    return {
        "status": "healthy" if facts.is_fresh else "stale",
        "chain_id": facts.chain_id,
        "last_processed_block": facts.last_processed_block,
        "blocks_behind": facts.blocks_behind,
        "read_age_seconds": _age(facts.read_at),
    }, {}


@page("List the workers that are alive, what waits and moves in each stage, and what holds it back")
def health_workers() -> Facts:
    """Return it; `status` is `no_worker`, or `blocked` while a whole stage cannot go on."""
    view = take_overview()
    alive = [worker for worker in view.workers if worker.alive]
    is_blocked = any(cause.kind in _BLOCKING and cause.stages for cause in view.troubles)
    public = {
        "status": "no_worker" if not alive else "blocked" if is_blocked else "healthy",
        "pending_jobs": sum(load.pending for load in view.stages),
        "active_jobs": sum(load.active for load in view.stages),
    }
    return public, {
        "workers": [
            {
                "stage": worker.stage,
                "in_flight": worker.in_flight,
                "started_at": worker.started_at,
                "beat_age_seconds": _age(worker.beat_at),
                "last_progress_at": worker.last_progress_at,
            }
            for worker in alive
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
        # Without the vendors' words.
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


@page("Check whether the keeper can reveal, and why not")
def health_keeper() -> Facts:
    """Return `healthy` or `blocked`; for those who may read it the keeper's whole state."""
    state = keeper_state()
    # A batch needs more than the look at the keeper asks for: all that it may cost, in advance.
    for cause in one_for_one_cause(find_causes()):
        if cause.kind == KEEPER_KEY and cause.stages and state.status in (OK, LOW):
            state = replace(state, status=BLOCKED, reason=cause.reason)
    public = {"status": "blocked" if state.status in (BLOCKED, EMPTY) else "healthy"}
    return public, asdict(state)


@page("Get totals since the first mint, the error rate of the last day, the spend")
def health_metrics() -> Facts:
    """Return the totals; the error rate is the failed share of what ended in the last day."""
    numbers = {count.status: count.number for count in count_by_state()}
    spend = spend_totals()
    public = {
        "total_mints": sum(numbers.values()),
        "total_revealed": numbers[TokenStatus.REVEALED],
        "error_rate_24h": error_rate_24h(),
    }
    return public, {
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
        summary="Get the state of the whole system",
        description="Tokens by state, stages, reveals under way, spend, workers, what holds work "
        "back, and how far the chain has been read. `manage.py pipeline_status --json` prints "
        "the same.",
        responses={200: OpenApiTypes.OBJECT, **REFUSALS},
    )
    def get(self, request: Request) -> Response:
        return Response(take_overview().as_json())
