"""Whether the system is well, for probes and dashboards; no foreign machine is asked."""

from datetime import timedelta
from typing import Any

import psycopg
import structlog
from django.db import DatabaseError, connection
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from glisk.models import WorkerHeartbeat
from reveals.models import RevealBatchToken
from tokens.models import Token
from tokens.states import ACTIVE, TERMINAL, TokenStatus

logger = structlog.get_logger(__name__)

ALIVE_SECONDS = 15
_ERROR_WINDOW = timedelta(hours=24)
# A probe must answer while the pool is exhausted or the network swallows packets: it has a
# connection of its own, and every phase of it has an end.
_PROBE_LIMITS: dict[str, Any] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 2000,
    "options": "-c statement_timeout=2s",
}
_STAGES = {
    "generation": (TokenStatus.DETECTED, TokenStatus.GENERATING),
    "upload": (TokenStatus.UPLOADING,),
    "reveal": (TokenStatus.READY,),
}


def database_answers() -> bool:
    """Say whether the database answers within a few seconds."""
    given = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname", "sslmode")
    parameters: dict[str, Any] = {name: given[name] for name in names if name in given}
    try:
        with psycopg.connect(**parameters, **_PROBE_LIMITS, autocommit=True) as probe:
            probe.execute("SELECT 1")
    except psycopg.Error as error:
        logger.warning("database_unreachable", error=type(error).__name__)
        return False
    return True


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the database can be reached, else 503; never an exception's text."""
    if database_answers():
        return JsonResponse({"status": "healthy"})
    return _unhealthy()


@never_cache
@require_safe
def health_workers(request: HttpRequest) -> JsonResponse:
    """Answer with the workers that are alive, and what waits and moves in each stage."""
    try:
        return JsonResponse({"workers": worker_list(), "stages": stage_list()})
    except DatabaseError:
        return _unhealthy()


@never_cache
@require_safe
def health_metrics(request: HttpRequest) -> JsonResponse:
    """Answer with the totals since the first mint and the error rate of the last day."""
    try:
        return JsonResponse(metrics())
    except DatabaseError:
        return _unhealthy()


def worker_list() -> list[dict[str, Any]]:
    """Return the workers that have been heard of within `ALIVE_SECONDS`."""
    now = timezone.now()
    alive = WorkerHeartbeat.objects.filter(beat_at__gte=now - timedelta(seconds=ALIVE_SECONDS))
    return [
        {
            "stage": worker.stage,
            "in_flight": worker.in_flight,
            "started_at": worker.started_at,
            "beat_age_seconds": round((now - worker.beat_at).total_seconds(), 1),
            "last_progress_at": worker.last_progress_at,
        }
        for worker in alive.order_by("stage", "started_at")
    ]


def stage_list() -> list[dict[str, Any]]:
    """Return for each stage: tokens that wait, tokens in work, and the oldest one's age."""
    now = timezone.now()
    in_batch = Exists(RevealBatchToken.objects.filter(token=OuterRef("pk"), is_open=True))
    in_work = Q(lease_owner__isnull=False) | Q(in_batch)
    rows = (
        Token.objects.filter(status__in=ACTIVE)
        .values("status")
        .annotate(
            total=Count("pk"), active=Count("pk", filter=in_work), oldest=Min("status_changed_at")
        )
        .order_by()
    )
    by_status = {row["status"]: row for row in rows}
    stages = []
    for stage, statuses in _STAGES.items():
        found = [by_status[status] for status in statuses if status in by_status]
        active = sum(row["active"] for row in found)
        oldest = min((row["oldest"] for row in found), default=None)
        age = None if oldest is None else round((now - oldest).total_seconds(), 1)
        pending = sum(row["total"] for row in found) - active
        stages.append(
            {"stage": stage, "pending": pending, "active": active, "oldest_age_seconds": age}
        )
    return stages


def metrics() -> dict[str, Any]:
    """Return the totals; the error rate is the failed share of what ended in the last day."""
    ended = Q(status__in=TERMINAL, status_changed_at__gte=timezone.now() - _ERROR_WINDOW)
    found = Token.objects.aggregate(
        total_mints=Count("pk"),
        total_revealed=Count("pk", filter=Q(status=TokenStatus.REVEALED)),
        ended=Count("pk", filter=ended),
        failed=Count("pk", filter=ended & Q(status=TokenStatus.FAILED)),
    )
    rate = found["failed"] / found["ended"] if found["ended"] else 0.0
    return {
        "total_mints": found["total_mints"],
        "total_revealed": found["total_revealed"],
        "error_rate_24h": round(rate, 4),
    }


def _unhealthy() -> JsonResponse:
    error = {"type": "DatabaseUnavailable", "message": "The database does not answer."}
    return JsonResponse({"status": "unhealthy", "error": error}, status=503)
