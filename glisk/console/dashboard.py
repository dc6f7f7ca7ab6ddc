"""The admin's first page: how the pipeline stands, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
from glisk.console.overview.troubles import find_troubles
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
from tokens.states import TokenStatus
from tokens.totals import Spend, StateCount, count_by_state, spend_totals
from webhooks.models import WebhookEvent

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
    """Return what this user may see of the pipeline; as many queries, whatever the size."""
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
    found = workers() if may["workers"] or may["states"] else None
    chain = chain_facts() if may["states"] else None
    tiles = [
        chain_tile(chain, now) if chain is not None else None,
        workers_tile(found) if found is not None and may["workers"] else None,
        keeper_tile(keeper_state(), now) if may["batches"] else None,
        gas_tile(reveal_costs()) if may["batches"] else None,
        spend_tile(spend) if spend is not None else None,
        failure_tile(day) if day is not None else None,
    ]
    return {
        "may": may,
        "may_control": may_control(request.user),
        "now": now,
        "troubles": find_troubles(workers=found, chain=chain) if may["states"] else [],
        "funnel": _funnel(day) if day is not None else [],
        "tiles": [tile for tile in tiles if tile is not None],
        "day": day,
        "charts": pace_charts(day) if day is not None else [],
        "failures": _failures(day) if day is not None else [],
        "batches": _batches() if may["batches"] else [],
        "workers": found if may["workers"] else [],
        "events": _events() if may["events"] else [],
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


def _funnel(day: LastDay) -> list[tuple[StateCount, int | None]]:
    """Return the tokens by state, with how many of the last day came to where they end."""
    lately = {TokenStatus.REVEALED: day.revealed, TokenStatus.FAILED: day.failed}
    return [(count, lately.get(count.status)) for count in count_by_state()]


def _batches() -> list[dict[str, Any]]:
    return [
        {
            **batch,
            "url": explorer_transaction_url(batch["tx_hash"]) if batch["tx_hash"] else "",
            "label": _LABELS.get(batch["tx_status"] or "", "default"),
        }
        for batch in open_batches()[:_ROWS]
    ]


def _events() -> list[tuple[WebhookEvent, str]]:
    newest = WebhookEvent.objects.defer("body", "verdicts", "error").order_by("-received_at")
    return [(event, _LABELS[event.status]) for event in newest[:_ROWS]]


# -- the figures -----------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """`percent` draws a meter; `url` is where more of it stands."""

    name: str
    value: str
    note: str
    tone: str = ""  # good, warn, bad
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
    return Tile("Last block", f"{chain.last_processed_block:,}", note, tone)


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
    return Tile("Reveals left", compact(keeper.reveals_left), note, tone)


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
    return Tile("Spent today", value, note, tone, percent, url)


def failure_tile(day: LastDay) -> Tile:
    url = f"{reverse('admin:tokens_token_changelist')}?attention=failed_today"
    ended = day.revealed + day.failed
    if not ended:
        return Tile("Failed in 24 hours", "–", "nothing has ended", url=url)
    share = 100 * day.failed_share
    tone = "good" if share < 1 else "warn" if share < 5 else "bad"
    note = f"{day.failed:,} of {ended:,} that ended"
    return Tile("Failed in 24 hours", f"{share:.1f} %", note, tone, url=url)


fragment_view = admin.site.admin_view(dashboard_fragment)
