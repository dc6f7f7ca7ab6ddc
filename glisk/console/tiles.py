"""The figures of the dashboard: each with what it means, and whether it is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.urls import reverse

from glisk.admin.formatting import compact, duration, short_ether
from glisk.clock import read_moment
from glisk.console.overview.last_day import LastDay
from glisk.console.overview.system import ChainFacts, Worker
from reveals.keeper import BLOCKED, EMPTY, LOW, UNKNOWN, KeeperState, RevealCosts
from tokens.pipeline.spend import Spend

Tone = Literal["", "good", "warn", "bad"]
_NEAR_CAP = 80  # percent
_BEHIND_BLOCKS = 20
_LOOKS_EVERY_SECONDS = 300  # of the keeper, at the least; older figures are said to be old


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
