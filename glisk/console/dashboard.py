"""The admin's first page: how the pipeline stands, at a glance."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache

from glisk.admin.formatting import duration
from glisk.clients.links import explorer_transaction_url
from glisk.clock import database_now
from glisk.console.charts import pace_charts
from glisk.console.control_page import may_control
from glisk.console.overview import open_batches
from glisk.console.overview.last_day import LastDay, last_day
from glisk.console.overview.system import Worker, chain_facts, workers
from glisk.console.overview.troubles import Trouble, find_troubles
from glisk.console.tiles import (
    chain_tile,
    failure_tile,
    gas_tile,
    keeper_tile,
    spend_tile,
    workers_tile,
)
from reveals.keeper import keeper_state, reveal_costs
from tokens.admin.filters import failed_url
from tokens.pipeline.spend import spend_totals
from tokens.states import TokenStatus
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
    """Return what this user may see of the pipeline; eighteen queries, whatever the size."""
    now = database_now()
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
    day = last_day() if may["funnel"] else None
    spend = spend_totals() if may["spend"] else None
    alive = workers() if may["workers"] or may["states"] else None
    chain = chain_facts() if may["states"] else None
    tiles = [
        chain_tile(chain, now) if chain is not None else None,
        workers_tile(alive) if alive is not None and may["workers"] else None,
        keeper_tile(keeper_state(), now) if may["batches"] else None,
        gas_tile(reveal_costs()) if may["batches"] else None,
        spend_tile(spend) if spend is not None else None,
        failure_tile(day) if day is not None else None,
    ]
    return {
        "may": may,
        "may_control": may_control(request.user),
        "now": now,
        "troubles": _troubles(now, find_troubles(workers=alive, chain=chain))
        if may["states"]
        else [],
        "funnel": _funnel(now, day) if day is not None else [],
        "tiles": [tile for tile in tiles if tile is not None],
        "day": day,
        "charts": pace_charts(day) if day is not None else [],
        "failures": _failures(day) if day is not None else [],
        "batches": _batches(now) if may["batches"] else [],
        "workers": _workers(now, alive) if alive is not None and may["workers"] else [],
        "events": _events(now) if may["events"] else [],
        "spend": spend,
    }


def _failures(day: LastDay) -> list[dict[str, Any]]:
    """Return the failed of the last day by class, each with its share of the most frequent."""
    most = max((number for _, number in day.failures), default=0)
    return [
        {
            "name": name or "no class",
            "url": failed_url(name),
            "number": number,
            "percent": round(100 * number / most),
        }
        for name, number in day.failures[:_ROWS]
    ]


def _funnel(now: datetime, day: LastDay) -> list[dict[str, Any]]:
    lately = {TokenStatus.REVEALED: day.revealed, TokenStatus.FAILED: day.failed}
    return [
        {
            "status": count.status,
            "label": count.status.label,
            "number": count.number,
            "oldest": _since(now, count.oldest_at),
            "lately": lately.get(count.status),
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


def _workers(now: datetime, found: list[Worker]) -> list[dict[str, Any]]:
    return [
        {
            "worker": worker,
            "beat": _since(now, worker.beat_at),
            "progress": _since(now, worker.last_progress_at),
        }
        for worker in found
    ]


def _troubles(now: datetime, found: list[Trouble]) -> list[dict[str, Any]]:
    return [
        {
            "trouble": trouble,
            "since": _since(now, trouble.since),
            "retry": _until(now, trouble.retry_at),
        }
        for trouble in found
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
