"""The admin's first page: how the pipeline stands, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache

from glisk.admin.formatting import compact, duration, short_ether
from glisk.clients.links import explorer_transaction_url
from glisk.clock import database_now, read_moment
from glisk.console.charts import pace_charts
from glisk.console.controls import may_control
from glisk.console.overview import open_batches
from glisk.console.overview.last_day import LastDay, last_day
from glisk.console.overview.system import ChainFacts, Worker, chain_facts, workers
from glisk.console.overview.troubles import Trouble, find_troubles
from reveals.keeper import (
    BLOCKED,
    EMPTY,
    LOW,
    UNKNOWN,
    KeeperState,
    RevealCosts,
    keeper_state,
    reveal_costs,
)
from tokens.admin.filters import failed_url
from tokens.pipeline.spend import Spend, spend_totals
from tokens.states import TokenStatus
from tokens.totals import count_by_state
from webhooks.models import WebhookEvent

Tone = Literal["", "good", "warn", "bad"]
_NEAR_CAP = 80  # percent
_BEHIND_BLOCKS = 20
_LOOKS_EVERY_SECONDS = 300  # of the keeper, at the least; older figures are said to be old
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


# -- the figures -----------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """`percent` draws a meter; `url` is where more of it stands."""

    name: str
    value: str
    note: str
    tone: Tone = ""
    percent: int | None = None
    url: str = ""


def chain_tile(chain: ChainFacts, now: datetime) -> Tile:
    if chain.last_processed_block is None or chain.read_at is None:
        return Tile("Last block", "–", "nothing read from the chain yet", "warn")
    read = duration((now - chain.read_at).total_seconds())
    behind = chain.blocks_behind
    if not chain.is_fresh:
        note, tone = f"not read for {read}", "bad"
    elif behind:
        late = behind > _BEHIND_BLOCKS
        note, tone = f"{behind:,} blocks behind", "warn" if late else "good"
    else:
        note, tone = f"none behind, read {read} ago", "good"
    return Tile("Last block", f"{chain.last_processed_block:,}", note, _tone(tone))


def workers_tile(found: Sequence[Worker]) -> Tile:
    alive = [worker for worker in found if worker.alive]
    silent = len(found) - len(alive)
    in_flight = sum(worker.in_flight for worker in alive)
    url = reverse("admin:glisk_workerheartbeat_changelist")
    if not alive:
        return Tile("Workers alive", "0", "tokens wait until one starts", "bad", url=url)
    note = f"{in_flight:,} call{'' if in_flight == 1 else 's'} in flight"
    note += f", {silent} silent" if silent else ""
    return Tile("Workers alive", str(len(alive)), note, "warn" if silent else "good", url=url)


def keeper_tile(keeper: KeeperState, now: datetime) -> Tile:
    if keeper.status == UNKNOWN:
        return Tile("Reveals left", "–", "nobody has looked at the keeper yet", "warn")
    looked = read_moment(keeper.checked_at)
    tone = {EMPTY: "bad", BLOCKED: "bad", LOW: "warn"}.get(keeper.status, "good")
    note = f"keeper has {short_ether(keeper.balance_wei)}"
    if keeper.status == BLOCKED:
        note = keeper.reason
    elif keeper.unreachable:
        note, tone = f"{note}, as last seen: the node does not answer", "warn"
    elif looked is not None and (old := (now - looked).total_seconds()) > _LOOKS_EVERY_SECONDS:
        note, tone = f"{note}, {duration(old)} ago", "warn"
    return Tile("Reveals left", compact(keeper.reveals_left), note, _tone(tone))


def gas_tile(costs: RevealCosts) -> Tile:
    url = reverse("admin:reveals_revealtransaction_changelist")
    if costs.gas_per_token is None:
        return Tile("Gas per token", "–", "nothing was revealed yet", url=url)
    price = f"{(costs.wei_per_token or 0) / 1e9:,.4g} gwei each"
    note = f"{price}, by the last {costs.tokens:,} token{'' if costs.tokens == 1 else 's'}"
    return Tile("Gas per token", f"{costs.gas_per_token:,}", note, url=url)


def spend_tile(spend: Spend) -> Tile:
    url = reverse("admin:tokens_imagegenerationjob_changelist")
    value = f"${spend.today_usd:,.3f}"
    if spend.cap_usd is None:
        return Tile("Spent today", value, "on images; no daily cap is set", url=url)
    percent = min(100, int(100 * spend.today_usd / spend.cap_usd))
    tone = "bad" if percent >= 100 else "warn" if percent >= _NEAR_CAP else "good"
    note = f"{percent} % of the cap of ${spend.cap_usd.normalize():f}"
    return Tile("Spent today", value, note, _tone(tone), percent, url)


def failure_tile(day: LastDay) -> Tile:
    url = f"{reverse('admin:tokens_token_changelist')}?attention=failed_today"
    ended = day.revealed + day.failed
    if not ended:
        return Tile("Failed in 24 hours", "–", "nothing has ended", url=url)
    share = 100 * day.failed_share
    tone = "good" if share < 1 else "warn" if share < 5 else "bad"
    note = f"{day.failed:,} of {ended:,} that ended"
    return Tile("Failed in 24 hours", f"{share:.1f} %", note, _tone(tone), url=url)


def _tone(text: str) -> Tone:
    known: dict[str, Tone] = {"good": "good", "warn": "warn", "bad": "bad"}
    return known.get(text, "")


fragment_view = admin.site.admin_view(dashboard_fragment)
