"""The admin's first page: how the pipeline stands, at a glance."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from glisk.display import duration
from glisk.links import explorer_transaction_url
from glisk.overview import obstacles, open_batches, workers
from tokens.spend import spend_totals
from tokens.totals import count_by_state
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
    """Return what this user may see of the pipeline; nine queries, whatever the size."""
    now = timezone.now()
    may = {
        name: request.user.has_perm(permission)
        for name, permission in (
            ("funnel", "tokens.view_token"),
            ("batches", "reveals.view_revealbatch"),
            ("workers", "glisk.view_workerheartbeat"),
            ("states", "glisk.view_systemstate"),
            ("events", "webhooks.view_webhookevent"),
            ("spend", "tokens.view_imagegenerationjob"),
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
        "spend": spend_totals() if may["spend"] else None,
    }


def _funnel(now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "status": count.status,
            "label": count.status.label,
            "number": count.number,
            "oldest": _since(now, count.oldest_at),
        }
        for count in count_by_state()
    ]


def _batches(now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "batch": batch,
            "url": explorer_transaction_url(batch.tx_hash) if batch.tx_hash else "",
            "label": _LABELS.get(batch.tx_status or "", "default"),
            "age": _since(now, batch.created_at),
        }
        for batch in open_batches()[:_ROWS]
    ]


def _workers(now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "worker": worker,
            "beat": _since(now, worker.beat_at),
            "progress": _since(now, worker.last_progress_at),
        }
        for worker in workers()
    ]


def _obstacles(now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "obstacle": obstacle,
            "since": _since(now, obstacle.since),
            "retry": _until(now, obstacle.retry_at),
        }
        for obstacle in obstacles()
    ]


def _events(now: datetime) -> list[dict[str, Any]]:
    newest = WebhookEvent.objects.defer("body", "verdicts", "error").order_by("-received_at")
    return [
        {
            "event": event,
            "label": _LABELS[event.status],
            "age": _since(now, event.received_at),
            "took": event.took_ms,
        }
        for event in newest[:_ROWS]
    ]


def _since(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None else duration((now - moment).total_seconds())


def _until(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None or moment <= now else duration((moment - now).total_seconds())


fragment_view = admin.site.admin_view(dashboard_fragment)
