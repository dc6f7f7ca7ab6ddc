"""The admin's first page: how the pipeline stands, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intword
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache

from glisk.admin.formatting import duration, ether
from glisk.clients.links import explorer_url
from glisk.clock import read_moment
from glisk.console.charts import pace_charts
from glisk.console.controls import CONTROLS, may_see_controls
from glisk.console.controls import URL_NAME as CONTROLS_URL
from glisk.console.overview import Overview, take_overview
from glisk.console.overview.causes import Trouble
from glisk.console.overview.last_day import last_day
from glisk.console.overview.system import ChainFacts, Worker
from glisk.management.base import counted
from reveals.admin.transactions import TRANSACTION_LABELS
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
from tokens.states import TokenStatus
from tokens.totals import Spend

_NEAR_CAP = 80  # percent
_BEHIND_BLOCKS = 20
_LOOKS_EVERY_SECONDS = 300  # of the keeper, at the least; older figures are said to be old
_ROWS = 8
# What needs which permission.
_PARTS = {
    "funnel": "tokens.view_token",
    "batches": "reveals.view_revealbatch",
    "workers": "glisk.view_workerheartbeat",
    "states": "glisk.view_systemstate",
    "spend": "tokens.view_imagegenerationjob",
}


def dashboard_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard to the context of the admin's first page (Unfold's callback)."""
    return {**context, "title": "Dashboard", "dashboard": dashboard(request)}


@admin.site.admin_view
@never_cache
def dashboard_fragment(request: HttpRequest) -> HttpResponse:
    """Answer with the part of the page that refreshes itself."""
    return TemplateResponse(request, "admin/dashboard.html", {"dashboard": dashboard(request)})


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Return what this user may see of the pipeline; as many queries, whatever the size."""
    view = take_overview()
    may = {part: request.user.has_perm(permission) for part, permission in _PARTS.items()}
    shown: dict[str, Any] = {"now": view.taken_at, "may": may, "tiles": []}
    if may["states"]:
        shown |= {
            "troubles": [(each, _button(each, request.user)) for each in view.troubles],
            "may_control": may_see_controls(request.user),
        }
        shown["tiles"].append(chain_tile(view.chain, view.taken_at))
    if may["workers"]:
        shown["workers"] = view.workers
        shown["tiles"].append(workers_tile(view.workers))
    if may["batches"]:
        shown["batches"] = _batches(view)
        shown["tiles"] += [keeper_tile(keeper_state(), view.taken_at), gas_tile(reveal_costs())]
    if may["spend"]:
        shown["spend"] = view.spend
        shown["tiles"].append(spend_tile(view.spend))
    if may["funnel"]:
        day, failed = last_day(), sum(failure.number for failure in view.failures)
        lately = {TokenStatus.REVEALED: day.revealed, TokenStatus.FAILED: failed}
        shown |= {
            "funnel": [(count, lately.get(count.status)) for count in view.tokens],
            "charts": pace_charts(day),
            "failures": view.failures[:_ROWS],
        }
        shown["tiles"].append(failure_tile(failed, day.revealed))
    shown["is_calm"] = not any(tile.tone in ("warn", "bad") for tile in shown["tiles"])
    return shown


def _button(trouble: Trouble, user: Any) -> tuple[str, str] | None:
    """Return label and address of what ends a trouble at once, if this user may do it."""
    control = next((control for control in CONTROLS if control.name == trouble.remedy), None)
    if control is None or not user.has_perm(control.permission):
        return None
    asked = urlencode({"action": control.name, "subject": trouble.subjects}, doseq=True)
    return control.label, f"{reverse(f'admin:{CONTROLS_URL}')}?{asked}"


def _batches(view: Overview) -> list[dict[str, Any]]:
    return [
        {
            **batch,
            "url": explorer_url("tx", batch["tx_hash"]),
            "label": TRANSACTION_LABELS.get(batch["tx_status"], "default"),
        }
        for batch in view.batches[:_ROWS]
    ]


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
    if chain.last_processed_block is None:
        return Tile("Last block", "–", chain.pace(now), "warn")
    late = "warn" if (chain.blocks_behind or 0) > _BEHIND_BLOCKS else "good"
    tone = late if chain.is_fresh else "bad"
    return Tile("Last block", f"{chain.last_processed_block:,}", chain.pace(now), tone)


def workers_tile(found: Sequence[Worker]) -> Tile:
    alive = [worker for worker in found if worker.alive]
    silent = len(found) - len(alive)
    url = reverse("admin:glisk_workerheartbeat_changelist")
    if not alive:
        return Tile("Workers alive", "0", "tokens wait until one starts", "bad", url=url)
    note = f"{counted(sum(worker.in_flight for worker in alive), 'call')} in flight"
    note += f", {silent} silent" if silent else ""
    return Tile("Workers alive", str(len(alive)), note, "warn" if silent else "good", url=url)


def keeper_tile(keeper: KeeperState, now: datetime) -> Tile:
    if keeper.status == UNKNOWN:
        return Tile("Reveals left", "–", "nobody has looked at the keeper yet", "warn")
    looked = read_moment(keeper.checked_at)
    tone = {EMPTY: "bad", BLOCKED: "bad", LOW: "warn"}.get(keeper.status, "good")
    note = f"keeper has {_balance(keeper.balance_wei)}"
    if keeper.status == BLOCKED:
        note = keeper.reason
    elif keeper.unreachable:
        note, tone = f"{note}, as last seen: the node does not answer", "warn"
    elif looked is not None and (old := (now - looked).total_seconds()) > _LOOKS_EVERY_SECONDS:
        note, tone = f"{note}, {duration(old)} ago", "warn"
    left = keeper.reveals_left
    return Tile("Reveals left", f"{left:,}" if left < 10**6 else str(intword(left)), note, tone)


def _balance(wei: int | None) -> str:
    """Return an amount that is watched, not booked: four digits after the point are enough."""
    return ether(wei if wei is None or wei < 10**15 else wei // 10**14 * 10**14)


def gas_tile(costs: RevealCosts) -> Tile:
    url = reverse("admin:reveals_revealtransaction_changelist")
    if costs.gas_per_token is None:
        return Tile("Gas per token", "–", "nothing was revealed yet", url=url)
    price = f"{(costs.wei_per_token or 0) / 1e9:,.4g} gwei each"
    note = f"{price}; last {counted(costs.tokens, 'token')}"
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


def failure_tile(failed: int, revealed: int) -> Tile:
    url = f"{reverse('admin:tokens_token_changelist')}?attention=failed_today"
    if not (ended := failed + revealed):
        return Tile("Failed, 24 hours", "–", "nothing has ended", url=url)
    share = 100 * failed / ended
    tone = "good" if share < 1 else "warn" if share < 5 else "bad"
    note = f"{failed:,} of {ended:,} that ended"
    return Tile("Failed, 24 hours", f"{share:.1f} %", note, tone, url=url)
