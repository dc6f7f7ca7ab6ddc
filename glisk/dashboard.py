"""The admin's first page: how the pipeline stands, at a glance."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Min, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache

from glisk.display import duration
from glisk.health import ALIVE_SECONDS
from glisk.links import explorer_transaction_url
from glisk.models import SystemState, WorkerHeartbeat
from glisk.paginator import EXACT_LIMIT, estimated_count
from reveals.models import BatchStatus, RevealBatch, RevealTransaction
from tokens.models import Token
from tokens.states import ACTIVE, TERMINAL, TokenStatus
from webhooks.models import WebhookEvent

_ROWS = 8
_LABELS = {
    "received": "info",
    "processed": "success",
    "ignored": "default",
    "failed": "danger",
    "signed": "default",
    "broadcast": "info",
    "confirmed": "success",
    "reverted": "danger",
    "replaced": "warning",
}


def dashboard_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard to the context of the admin's first page (Unfold's callback)."""
    return {**context, "title": "Dashboard", "dashboard": dashboard(request)}


@never_cache
def dashboard_fragment(request: HttpRequest) -> HttpResponse:
    """Answer with the part of the page that refreshes itself."""
    return TemplateResponse(request, "admin/dashboard.html", {"dashboard": dashboard(request)})


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Return what this user may see of the pipeline; eight queries, whatever the size."""
    now = timezone.now()
    may = {
        name: request.user.has_perm(permission)
        for name, permission in (
            ("funnel", "tokens.view_token"),
            ("batches", "reveals.view_revealbatch"),
            ("workers", "glisk.view_workerheartbeat"),
            ("states", "glisk.view_systemstate"),
            ("events", "webhooks.view_webhookevent"),
        )
    }
    return {
        "may": may,
        "now": now,
        "funnel": _funnel(now) if may["funnel"] else [],
        "batches": _batches(now) if may["batches"] else [],
        "workers": _workers(now) if may["workers"] else [],
        "obstacles": _obstacles(now) if may["states"] else [],
        "events": _events(now) if may["events"] else [],
    }


def _funnel(now: datetime) -> list[dict[str, Any]]:
    """Return a stage per state; what has ended is estimated once there is very much of it."""
    counted = (
        Token.objects.filter(status__in=ACTIVE)
        .order_by()
        .values("status")
        .annotate(number=Count("pk"), oldest=Min("status_changed_at"))
    )
    rows: dict[str, dict[str, Any]] = {row["status"]: dict(row) for row in counted}
    for status in TERMINAL:
        ended = Token.objects.filter(status=status).order_by().values("pk")
        number = ended[: EXACT_LIMIT + 1].count()
        about = number > EXACT_LIMIT
        rows[status] = {"number": estimated_count(ended) if about else number, "about": about}
    return [
        {
            "status": status,
            "label": status.label,
            "number": rows.get(status, {}).get("number", 0),
            "about": rows.get(status, {}).get("about", False),
            "oldest": _since(now, rows.get(status, {}).get("oldest")),
        }
        for status in TokenStatus
    ]


def _batches(now: datetime) -> list[dict[str, Any]]:
    """Return the open reveal batches in nonce order, each with its newest transaction."""
    newest = (
        RevealTransaction.objects.order_by("batch_id", "-id")
        .distinct("batch_id")
        .only("batch_id", "tx_hash", "status", "signed_at", "broadcast_at", "max_fee_per_gas_wei")
    )
    found = (
        RevealBatch.objects.filter(status=BatchStatus.OPEN)
        .annotate(size=Count("items"))
        .order_by("nonce")
        .prefetch_related(Prefetch("transactions", queryset=newest, to_attr="newest"))
    )
    rows = []
    for batch in found[:_ROWS]:
        transaction = next(iter(getattr(batch, "newest", [])), None)
        rows.append(
            {
                "batch": batch,
                "size": getattr(batch, "size", 0),
                "transaction": transaction,
                "url": explorer_transaction_url(transaction.tx_hash) if transaction else "",
                "label": _LABELS.get(transaction.status if transaction else "", "default"),
                "age": _since(now, batch.created_at),
            }
        )
    return rows


def _workers(now: datetime) -> list[dict[str, Any]]:
    """Return the workers of the last minutes; a silent one is shown as such."""
    return [
        {
            "worker": worker,
            "alive": now - worker.beat_at < timedelta(seconds=ALIVE_SECONDS),
            "beat": _since(now, worker.beat_at),
            "progress": _since(now, worker.last_progress_at),
        }
        for worker in WorkerHeartbeat.objects.order_by("stage", "owner")[: 4 * _ROWS]
    ]


def _obstacles(now: datetime) -> list[dict[str, Any]]:
    """Return what holds work back: pauses, and breakers that are open."""
    keys = Q(state_key__startswith="pause:") | Q(state_key__startswith="breaker:")
    rows = []
    for state in SystemState.objects.filter(keys).order_by("state_key"):
        kind, _, subject = state.state_key.partition(":")
        value = state.state_value if isinstance(state.state_value, dict) else {}
        if kind == "breaker" and value.get("state") != "open":
            continue
        rows.append(
            {
                "key": state.state_key,
                "kind": kind,
                "subject": subject,
                "reason": value.get("reason", ""),
                "since": _since(now, _moment(value.get("since")) or state.updated_at),
                "retry": _until(now, _moment(value.get("retry_at"))),
            }
        )
    return rows


def _events(now: datetime) -> list[dict[str, Any]]:
    newest = WebhookEvent.objects.defer("body", "verdicts", "error").order_by("-received_at")
    return [
        {
            "event": event,
            "label": _LABELS[event.status],
            "age": _since(now, event.received_at),
            "took": None
            if event.processed_at is None
            else round((event.processed_at - event.received_at).total_seconds() * 1000),
        }
        for event in newest[:_ROWS]
    ]


def _since(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None else duration((now - moment).total_seconds())


def _until(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None or moment <= now else duration((moment - now).total_seconds())


def _moment(text: Any) -> datetime | None:
    try:
        return parse_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None


fragment_view = admin.site.admin_view(dashboard_fragment)
