"""Each figure of the dashboard: what it says, and when it turns yellow or red."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk.admin.formatting import compact, short_ether
from glisk.api.short_memory import forget_all
from glisk.console.dashboard import (
    Tile,
    chain_tile,
    failure_tile,
    gas_tile,
    keeper_tile,
    spend_tile,
    workers_tile,
)
from glisk.console.overview.last_day import HOURS, LastDay, last_day
from glisk.console.overview.system import ChainFacts, Worker
from glisk.models import SystemState
from glisk.tests.pipeline_world import build_world
from reveals.keeper import KeeperState, reveal_costs
from reveals.models import RevealTransaction
from tokens.models import ImageGenerationJob, Token
from tokens.states import TokenStatus
from tokens.tests.factories import TokenFactory, hash32
from tokens.tests.plans import assert_uses, plans, table
from tokens.totals import Spend, SpendLine

__all__ = ["plans", "table"]

pytestmark = pytest.mark.django_db
NOW = timezone.now()


def ended(status: TokenStatus, *, ago: timedelta, took: float = 10, error_class: str = "") -> Token:
    token: Token = TokenFactory.create(status=status)
    at = timezone.now() - ago
    facts: dict[str, Any] = {
        "status_changed_at": at,
        "mint_timestamp": at - timedelta(seconds=took),
    }
    if status == TokenStatus.REVEALED:
        facts["revealed_at"] = at
    else:
        facts["error_class"] = error_class
    Token.objects.filter(pk=token.pk).update(**facts)
    return token


def test_the_last_day_by_the_hour() -> None:
    for seconds in (10, 20, 90):
        ended(TokenStatus.REVEALED, ago=timedelta(hours=3), took=seconds)
    ended(TokenStatus.FAILED, ago=timedelta(hours=3), error_class="artefact")
    ended(TokenStatus.FAILED, ago=timedelta(hours=1), error_class="artefact")
    ended(TokenStatus.FAILED, ago=timedelta(hours=1))
    ended(TokenStatus.FAILED, ago=timedelta(hours=30), error_class="transient")
    day = last_day()
    assert len(day.hours) == HOURS
    hour = day.hours[-4]
    assert hour.revealed == 3
    assert hour.p50_seconds == pytest.approx(20)
    assert hour.p95_seconds == pytest.approx(83)
    assert day.p50_seconds == pytest.approx(20)
    assert (day.minted, day.revealed, day.failed) == (6, 3, 3)
    assert day.failures == (("artefact", 2), ("", 1))
    assert day.failed_share == 0.5
    assert day.hours[0].p50_seconds is None


def test_who_asks_again_asks_no_database(django_assert_num_queries: Any) -> None:
    last_day()
    with django_assert_num_queries(0):
        last_day()
    forget_all()
    with django_assert_num_queries(3):
        last_day()


@pytest.mark.usefixtures("table")
def test_the_day_is_read_by_index(plans: list[str]) -> None:
    with connection.cursor() as cursor:  # many have failed before
        cursor.execute(
            "UPDATE tokens_s0 SET status = 'failed', status_changed_at = now() - interval '1 month'"
            " WHERE status = 'ready'"
        )
        cursor.execute("ANALYZE tokens_s0")
    plans.clear()
    last_day()
    by_hour, overall, failures = plans
    assert_uses(by_hour, "token_status_minted")
    for plan in (by_hour, overall, failures):
        assert_uses(plan, "token_ended")


def test_what_reveals_cost_lately() -> None:
    assert reveal_costs().gas_per_token is None
    build_world(2)
    for row in RevealTransaction.objects.filter(replaces=None):
        RevealTransaction.objects.filter(pk=row.pk).update(
            status="confirmed",
            block_number=1,
            block_hash=hash32(1),
            gas_used=100_000,
            effective_gas_price_wei=10,
            l1_fee_wei=2_000_000,
        )
    costs = reveal_costs()
    assert (costs.gas_per_token, costs.wei_per_token) == (100_000, 3_000_000)
    tile = gas_tile(costs)
    assert (tile.value, tile.note) == ("100,000", "0.003 gwei each, by the last 2 tokens")


def chain(**facts: Any) -> Tile:
    known: dict[str, Any] = {
        "chain_id": 1,
        "last_processed_block": 1234,
        "newest_block": 1234,
        "blocks_behind": 0,
        "read_at": NOW - timedelta(seconds=4),
        "is_fresh": True,
    }
    return chain_tile(ChainFacts(**(known | facts)), NOW)


def test_the_chain() -> None:
    assert (chain().value, chain().note) == ("1,234", "none behind, read 4.0 s ago")
    assert (chain().tone, chain(blocks_behind=3).tone) == ("good", "good")
    late = chain(blocks_behind=300)
    assert (late.tone, late.note) == ("warn", "300 blocks behind")
    stale = chain(is_fresh=False)
    assert (stale.tone, stale.note) == ("bad", "not read for 4.0 s")
    assert chain(last_processed_block=None).tone == "warn"


def worker(*, alive: bool) -> Worker:
    return Worker("a", "reveal", alive, 2, NOW, NOW, None)


def test_the_workers() -> None:
    assert workers_tile([]).tone == "bad"
    assert workers_tile([worker(alive=False)]).tone == "bad"
    some = workers_tile([worker(alive=True), worker(alive=False)])
    assert (some.value, some.note, some.tone) == ("1", "2 calls in flight, 1 silent", "warn")
    assert workers_tile([worker(alive=True)]).tone == "good"


def test_the_keeper() -> None:
    def tile(**facts: Any) -> Tile:
        known: dict[str, Any] = {
            "status": "ok",
            "balance_wei": 3 * 10**16,
            "reveals_left": 12_345,
            "checked_at": NOW.isoformat(),
        }
        return keeper_tile(KeeperState(**(known | facts)), NOW)

    assert (tile().value, tile().note) == ("12,345", "keeper has 0.03 ETH")
    assert tile().tone == "good"
    assert tile(status="low").tone == "warn"
    assert tile(status="empty").tone == "bad"
    blocked = tile(status="blocked", reason="It has no KEEPER_ROLE.")
    assert (blocked.tone, blocked.note) == ("bad", "It has no KEEPER_ROLE.")
    old = tile(checked_at=(NOW - timedelta(hours=2)).isoformat())
    assert (old.tone, old.note) == ("warn", "keeper has 0.03 ETH, 2 h ago")
    assert tile(unreachable="no route").tone == "warn"
    assert keeper_tile(KeeperState(), NOW).tone == "warn"


def test_the_spend() -> None:
    def tile(today: str, cap: str | None) -> Tile:
        usd = Decimal(today)
        line = SpendLine("replicate", "m", 1, usd, usd, usd, usd)
        return spend_tile(Spend((line,), Decimal(cap) if cap else None))

    assert (tile("1.5", None).value, tile("1.5", None).percent) == ("$1.500", None)
    some = tile("1.5", "10")
    assert (some.percent, some.tone, some.note) == (15, "good", "15 % of the cap of $10")
    assert tile("8.5", "10").tone == "warn"
    assert (tile("12", "10").tone, tile("12", "10").percent) == ("bad", 100)


def test_the_failures() -> None:
    nothing = failure_tile(LastDay((), (), None, None))
    assert (nothing.value, nothing.tone) == ("–", "")
    assert failure_tile(LastDay((), (("artefact", 1),), None, None)).tone == "bad"


def test_numbers_that_fit() -> None:
    assert [compact(n) for n in (98_765, 1_234_567, 17_877_267_522)] == [
        "98,765",
        "1.2 M",
        "17.9 bn",
    ]
    assert [short_ether(wei) for wei in (0, 1_234_567 * 10**9, 9_999_999 * 10**15)] == [
        "0 ETH",
        "0.001235 ETH",
        "10,000 ETH",
    ]


def test_all_of_it_is_on_the_page(admin_client: Client, settings: Settings) -> None:
    settings.DAILY_SPEND_CAP_USD = 1
    build_world(1)
    ImageGenerationJob.objects.update(cost_usd="0.5")
    ended(TokenStatus.REVEALED, ago=timedelta(minutes=2))
    failed = ended(TokenStatus.FAILED, ago=timedelta(minutes=1), error_class="<artefact>")
    SystemState.objects.create(
        state_key="keeper",
        state_value={"status": "low", "address": wallet(9), "reveals_left": 77, "balance_wei": 1},
    )
    text = admin_client.get("/admin/dashboard/").content.decode()
    for part in ("Tokens an hour", "From mint to reveal", "77", "50 % of the cap of $1", "<svg"):
        assert part in text, part
    assert "&lt;artefact&gt;" in text
    link = "/admin/tokens/token/?failed=%3Cartefact%3E"
    assert link in text
    assert [token.pk for token in admin_client.get(link).context["cl"].result_list] == [failed.pk]


def test_numbers_are_written_for_svg_in_any_language(admin_client: Client) -> None:
    ended(TokenStatus.REVEALED, ago=timedelta(minutes=2))
    text = admin_client.get("/admin/dashboard/", headers={"accept-language": "de"}).content.decode()
    assert 'width="4.167"' in text
