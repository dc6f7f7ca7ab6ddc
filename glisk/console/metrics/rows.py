"""What rows hold, as metrics: read at the scrape, in one snapshot of the database.

Its cost does not grow with the tables: what waits is found by indexes, and what is past was added
up before (tokens/timeline.py, reveals/costs.py, tokens/totals.py). Spend is a gauge, though it
grows: a reserved price is taken back when the vendor surely refused the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import product
from typing import Any, Final, cast

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from glisk.clock import database_now
from glisk.console.overview import Overview, take_overview
from glisk.console.overview.causes import LEVELS, PAGE, WARN
from glisk.console.overview.stages import HELD, STAGES
from reveals import keeper
from reveals.costs import reveal_totals
from tokens.recovery.drift import last_report
from tokens.timeline import Durations, timeline_totals
from webhooks.inbox import UNFINISHED
from webhooks.models import WebhookEvent

logger = structlog.get_logger(__name__)

_STATUSES: Final = (keeper.OK, keeper.LOW, keeper.EMPTY, keeper.BLOCKED, keeper.UNKNOWN)
# Rules and dashboard show these also where there is none; the first one starts the drains.
_WORKERS: Final = ("supervisor", *STAGES)


class RowCollector(Collector):
    """Yields them; without a database only that it is down."""

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("glisk_database_up", "Whether the database answered this scrape.")
        try:
            found = _read()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("metrics_without_database", error=type(error).__name__)
            found = []
        up.add_metric([], bool(found))
        return [up, *found]


def _read() -> list[Metric]:
    with transaction.atomic():
        if len(connection.savepoint_ids) == 0:  # the outermost: its first statement
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        view = take_overview()
        return [
            *_stages(view),
            *_system(view),
            *_spend(view),
            *_past(),
            *_keeper(),
            *_reveals(),
            *_others(),
        ]


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"glisk_{name}", text, value=value)


def _many(
    name: str,
    text: str,
    labels: str | tuple[str, ...],
    values: Mapping[Any, float],
    kind: Any = GaugeMetricFamily,
) -> Metric:
    """Make a metric of a value for each label, or for each tuple of labels."""
    family = kind(f"glisk_{name}", text, labels=(labels,) if isinstance(labels, str) else labels)
    for key, value in values.items():
        family.add_metric((key,) if isinstance(key, str) else key, value)
    return cast(Metric, family)


def _age(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (database_now() - moment).total_seconds())


def _stages(view: Overview) -> Iterator[Metric]:
    states = {str(count.status): count for count in view.tokens}
    yield _many("tokens", "Tokens by state.", "state", {s: c.number for s, c in states.items()})
    text = "How long the token has been in its state that has been there longest; 0 if none is."
    ages = {state: _age(count.oldest_at) for state, count in states.items()}
    yield _many("oldest_token_age_seconds", text, "state", ages)
    loads = {(load.stage, "waiting"): load.pending for load in view.stages}
    loads |= {(load.stage, "working"): load.active for load in view.stages}
    yield _many("stage_tokens", "Tokens of a stage.", ("stage", "activity"), loads)
    stuck = Counter(dict.fromkeys(STAGES, 0))
    for group in view.groups:
        stuck[group.stage] += 0 if group.cause == HELD else group.stuck
    text = "Tokens that have been in one state for STUCK_AFTER_SECONDS, held ones aside."
    yield _many("stage_stuck_tokens", text, "stage", stuck)
    text = "Tokens that failed in the last day, by the error's class."
    failed = {each.error_class or "none": each.number for each in view.failures}
    yield _many("failed_tokens_24h", text, "error_class", failed)


def _system(view: Overview) -> Iterator[Metric]:
    listed = Counter((trouble.kind, trouble.level) for trouble in view.troubles)
    text = "What the dashboard lists as wrong; page: it needs a person tonight, warn: it can wait."
    troubles = {key: listed[key] for key in product(LEVELS, (PAGE, WARN))}
    yield _many("troubles", text, ("kind", "level"), troubles)
    alive = Counter(worker.stage for worker in view.workers if worker.alive)
    text = "Processes of workers that live, by what they do."
    yield _many("workers", text, "stage", {stage: alive[stage] for stage in (*_WORKERS, *alive)})
    chain = view.chain
    if chain.read_at is not None:
        text = "Blocks of the chain that are not read yet, as of the last look."
        yield _one("chain_blocks_behind", text, chain.blocks_behind or 0)
        yield _one("chain_read_age_seconds", "Since the last look.", _age(chain.read_at))
    yield _one("reveal_batches_open", "Reveal batches under way.", len(view.batches))


def _spend(view: Overview) -> Iterator[Metric]:
    for name, text, value in (
        ("spend_usd", "What images have cost in US dollars, reserved ones too.", "all_time_usd"),
        ("spend_today_usd", "The same since midnight (UTC).", "today_usd"),
        ("predictions", "Images that were paid for.", "predictions"),
    ):
        lines = {(o.service, o.model): float(getattr(o, value)) for o in view.spend.lines}
        yield _many(name, text, ("service", "model"), lines)
    yield _one("spend_cap_usd", "DAILY_SPEND_CAP_USD; 0 is no cap.", float(view.spend.cap_usd or 0))


def _past() -> Iterator[Metric]:
    totals = timeline_totals()
    moves = {
        (source or "new", target or "withdrawn"): number
        for (source, target), number in sorted(totals.moves.items())
    }
    labels = ("from_state", "to_state")
    yield _many("transitions", "Moves of tokens.", labels, moves, CounterMetricFamily)
    text = "How long tokens stayed in a state that they have left."
    states = HistogramMetricFamily("glisk_state_seconds", text, labels=("state",))
    for status, durations in totals.states.items():
        states.add_metric([str(status)], _buckets(durations), durations.seconds)
    yield states
    text = "From a token's mint to its reveal by the keeper."
    reveal = totals.mint_to_reveal
    yield HistogramMetricFamily(
        "glisk_mint_to_reveal_seconds", text, buckets=_buckets(reveal), sum_value=reveal.seconds
    )


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    return [(floatToGoString(bound), number) for bound, number in durations.cumulative()]


def _keeper() -> Iterator[Metric]:
    state = keeper.keeper_state()
    is_state = {status: float(status == state.status) for status in _STATUSES}
    yield _many("keeper_status", "1 for what the keeper is, else 0.", "status", is_state)
    if state.checked_at is None:
        return
    yield _one("keeper_balance_eth", "The keeper's balance.", state.balance_wei / 1e18)
    text = "Reveals that the keeper's balance pays for, at the cost of the last ones."
    yield _one("keeper_reveals_left", text, state.reveals_left)
    yield _one("gas_price_gwei", "What a reveal would pay for gas now.", state.gas_price_wei / 1e9)


def _reveals() -> Iterator[Metric]:
    totals = reveal_totals()
    mined = {"confirmed": totals.confirmed, "reverted": totals.reverted}
    text = "Mined reveals that no reorg reaches."
    yield _many("reveal_transactions", text, "status", mined, CounterMetricFamily)
    for name, text, value in (
        ("reveal_tokens", "Tokens of the confirmed ones.", totals.tokens),
        ("reveal_gas", "Gas that all of them have used.", totals.gas_used),
        ("reveal_cost_eth", "What all of them have cost, L1 fees too.", totals.spent_wei / 1e18),
    ):
        yield CounterMetricFamily(f"glisk_{name}", text, value=value)


def _others() -> Iterator[Metric]:
    report = last_report()
    text = "Tokens that differ from the contract, or ids without a token, as of the last look."
    yield _one("drift_unrepaired", text, report.unrepaired)
    waiting = WebhookEvent.objects.filter(status__in=UNFINISHED).count()
    text = "Signed events in the inbox that are not done yet."
    yield _one("webhook_events_unfinished", text, waiting)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        (size,) = cursor.fetchone()
    yield _one("database_bytes", "Size of the database on its disk, indexes included.", size)
