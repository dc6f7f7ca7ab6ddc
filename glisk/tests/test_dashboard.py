"""The dashboard says how the pipeline stands, and costs the same at any size."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from authors.tests.factories import wallet
from glisk.api.short_memory import forget_all
from glisk.console.charts import Series, chart
from glisk.console.dashboard import (
    Tile,
    chain_tile,
    failure_tile,
    gas_tile,
    keeper_tile,
    spend_tile,
    workers_tile,
)
from glisk.console.overview.last_day import HOURS, last_day
from glisk.console.overview.system import ChainFacts, Worker
from glisk.models import SystemState, WorkerHeartbeat
from glisk.tests.admin_actions import operator
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
FRAGMENT = "/admin/dashboard/"
NOW = timezone.now()


def board(client: Client) -> dict[str, Any]:
    answer = client.get(FRAGMENT)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.context["dashboard"]
    return found


def test_counts_tokens_by_state_with_the_oldest_age(admin_client: Client) -> None:
    TokenFactory.create_batch(2, status=TokenStatus.GENERATING)
    TokenFactory.create(status=TokenStatus.REVEALED)
    Token.objects.filter(status=TokenStatus.GENERATING).update(
        status_changed_at=timezone.now() - timedelta(minutes=5)
    )
    answer = admin_client.get(FRAGMENT)
    numbers = {count.status: count.number for count, _ in answer.context["dashboard"]["funnel"]}
    assert numbers == dict.fromkeys(TokenStatus, 0) | {"generating": 2, "revealed": 1}
    assert answer.content.decode().count("oldest 5 min") == 1


def test_shows_what_is_in_flight_and_who_is_alive(admin_client: Client) -> None:
    build_world(10)
    silent = WorkerHeartbeat.objects.order_by("owner").last()
    assert silent is not None
    WorkerHeartbeat.objects.filter(pk=silent.pk).update(
        beat_at=timezone.now() - timedelta(seconds=16)
    )
    shown = board(admin_client)
    found = [(b["nonce"], b["tokens"], b["transactions"]) for b in shown["batches"][:2]]
    assert found == [(1, 1, 2), (2, 1, 2)]
    newest = RevealTransaction.objects.order_by("-id").filter(nonce=1)[0]
    assert shown["batches"][0]["tx_hash"] == newest.tx_hash
    alive = {worker.owner: worker.alive for worker in shown["workers"]}
    assert alive.pop(silent.pk) is False
    assert set(alive.values()) == {True}


@pytest.mark.plans
def test_costs_the_same_at_any_size(admin_client: Client) -> None:
    board(admin_client)
    counts = []
    for _ in range(2):
        build_world(6)
        forget_all()
        with CaptureQueriesContext(connection) as captured:
            board(admin_client)
        counts.append(len(captured))
    assert counts[0] == counts[1] == 19  # session and user are two of them


def test_the_first_page_shows_it_and_refreshes_it(admin_client: Client, client: Client) -> None:
    client.logout()
    assert client.get(FRAGMENT).status_code == 302  # strangers see nothing
    text = admin_client.get(reverse("admin:index")).content.decode()
    assert f'data-url="{FRAGMENT}"' in text
    assert "glisk/dashboard.js" in text
    assert "No worker has reported." in text


def test_each_part_needs_its_permission(client: Client) -> None:
    operator(client, "tokens.view_token")
    build_world(1)
    parts = {"now", "may", "tiles", "is_calm", "funnel", "charts", "failures"}
    assert board(client).keys() == parts
    navigation = client.get(reverse("admin:index")).content.decode()
    assert reverse("admin:tokens_token_changelist") in navigation
    assert reverse("admin:webhooks_webhookevent_changelist") not in navigation


def ended(status: TokenStatus, *, ago: timedelta, took: float = 10, error_class: str = "") -> Token:
    token: Token = TokenFactory.create(status=status, error_class=error_class)
    at = timezone.now() - ago
    Token.objects.filter(pk=token.pk).update(
        status_changed_at=at,
        mint_timestamp=at - timedelta(seconds=took),
        revealed_at=at if status == TokenStatus.REVEALED else None,
    )
    return token


def test_the_last_day_by_the_hour(django_assert_num_queries: Any) -> None:
    for seconds in (10, 20, 90):
        ended(TokenStatus.REVEALED, ago=timedelta(hours=3), took=seconds)
    ended(TokenStatus.FAILED, ago=timedelta(hours=1))
    ended(TokenStatus.FAILED, ago=timedelta(hours=30))
    with django_assert_num_queries(3):
        day = last_day()
    assert len(day.hours) == HOURS
    hour = day.hours[-4]
    assert (hour.revealed, hour.p50_seconds, hour.p95_seconds) == (3, 20, 83)
    assert (day.p50_seconds, day.p95_seconds) == (20, 83)
    assert (sum(hour.minted for hour in day.hours), day.revealed) == (4, 3)
    assert day.hours[0].p50_seconds is None
    with django_assert_num_queries(0):  # who asks again asks no database
        last_day()


@pytest.mark.usefixtures("table")
def test_the_day_is_read_by_index(plans: list[str]) -> None:
    with connection.cursor() as cursor:  # many have ended before
        cursor.execute(
            "UPDATE tokens_s0 SET status_changed_at = now() - interval '1 month',"
            " mint_timestamp = now() - interval '1 month' WHERE token_id % 20 > 0"
        )
        cursor.execute("ANALYZE tokens_s0")
    plans.clear()
    last_day()
    minted, revealed, overall = plans
    assert_uses(minted, "token_status_minted")
    for plan in (revealed, overall):
        assert_uses(plan, "token_ended")


def test_all_of_it_is_on_the_page_in_any_language(admin_client: Client, settings: Settings) -> None:
    build_world(1)  # with a living worker
    ImageGenerationJob.objects.update(cost_usd="0.003")
    ended(TokenStatus.REVEALED, ago=timedelta(minutes=2))
    SystemState.objects.create(
        state_key="keeper",
        state_value={"status": "low", "address": wallet(9), "reveals_left": 77, "balance_wei": 1},
    )
    assert [low.kind for low, _ in board(admin_client)["troubles"]] == ["keeper"]
    failed = ended(TokenStatus.FAILED, ago=timedelta(minutes=1), error_class="<artefact>")
    settings.DAILY_SPEND_CAP_USD = 0.004
    answer = admin_client.get(FRAGMENT, headers={"accept-language": "de"})
    _low, (paused, _), _ = answer.context["dashboard"]["troubles"]
    assert (paused.kind, paused.name) == ("pause", "daily_cap")
    assert paused.headline == "Image generation paused: the daily cap is reached"
    assert "0.003 USD are spent today" in paused.reason
    text = answer.content.decode()
    for part in (
        "Tokens an hour",
        "From mint to reveal",
        "77",
        "75 % of the cap of $0.004",
        "0.003 USD of 0.004",
        "next try in",
        'width="1.38"',  # as SVG wants it
        "&lt;artefact&gt;",
    ):
        assert part in text, part
    link = "/admin/tokens/token/?failed=%3Cartefact%3E"
    assert link in text
    assert [token.pk for token in admin_client.get(link).context["cl"].result_list] == [failed.pk]


# -- the figures -----------------------------------------------------------------------


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
    assert (tile.value, tile.note) == ("100,000", "0.003 gwei each; last 2 tokens")


def test_the_chain() -> None:
    def tile(block: int | None = 1234, behind: int = 0, *, is_fresh: bool = True) -> Tile:
        read_at = NOW - timedelta(seconds=4)
        return chain_tile(ChainFacts(1, block, 1234, behind, read_at, is_fresh), NOW)

    assert (tile().value, tile().note) == ("1,234", "0 blocks behind, read 4.0 s ago")
    assert (tile().tone, tile(behind=3).tone) == ("good", "good")
    assert (tile(behind=300).tone, tile(is_fresh=False).tone) == ("warn", "bad")
    assert tile(block=None).tone == "warn"


def test_the_workers() -> None:
    alive, silent = (
        Worker("a", "reveal", is_alive, 2, NOW, NOW, None) for is_alive in (True, False)
    )
    assert workers_tile([]).tone == workers_tile([silent]).tone == "bad"
    some = workers_tile([alive, silent])
    assert (some.value, some.note, some.tone) == ("1", "2 calls in flight, 1 silent", "warn")
    assert workers_tile([alive]).tone == "good"


def test_the_keeper() -> None:
    def tile(**facts: Any) -> tuple[str, str]:
        known: dict[str, Any] = {"status": "ok", "balance_wei": 3 * 10**16}
        known["checked_at"] = NOW.isoformat()
        found = keeper_tile(KeeperState(**(known | facts)), NOW)
        return found.tone, found.note

    assert tile() == ("good", "keeper has 0.03 ETH")
    for left, shown in ((98_765, "98,765"), (17_877_267_522, "17.9 billion")):
        assert keeper_tile(KeeperState(status="ok", reveals_left=left), NOW).value == shown
    assert (tile(status="low")[0], tile(status="empty")[0]) == ("warn", "bad")
    reason = "It has no KEEPER_ROLE."
    assert tile(status="blocked", reason=reason) == ("bad", reason)
    old = (NOW - timedelta(hours=2)).isoformat()
    assert tile(checked_at=old) == ("warn", "keeper has 0.03 ETH, 2 h ago")
    assert tile(unreachable="no route")[0] == tile(status="unknown")[0] == "warn"


def test_the_spend_and_the_failures() -> None:
    def tile(today: str, cap: str) -> Tile:
        usd = Decimal(today)
        line = SpendLine("replicate", "m", 1, usd, usd, usd, usd)
        return spend_tile(Spend((line,), Decimal(cap) if cap else None))

    assert (tile("1.5", "").value, tile("1.5", "").percent) == ("$1.500", None)
    some = tile("1.5", "10")
    assert (some.percent, some.tone, some.note) == (15, "good", "15 % of the cap of $10")
    assert tile("8.5", "10").tone == "warn"
    assert (tile("12", "10").tone, tile("12", "10").percent) == ("bad", 100)
    assert (failure_tile(0, 0).value, failure_tile(0, 0).tone) == ("–", "")
    assert (failure_tile(1, 3).value, failure_tile(1, 3).tone) == ("25.0 %", "bad")


def test_a_chart_is_right_in_its_proportions() -> None:
    minted = Series("minted", "minted", [10, 0, 5, None])
    revealed = Series("revealed", "revealed", [0.001, None, 10, 0])
    drawn = chart(["9", "10", "11", "12"], (minted, revealed), show=lambda value: f"{value:g}")
    assert {(bar["kind"], round(bar["x"])): bar["height"] for bar in drawn["bars"]} == {
        ("minted", 4): 100,
        ("revealed", 12): 1.5,  # little is not nothing
        ("minted", 54): 50,
        ("revealed", 62): 100,
    }
    assert drawn["rows"] == [(100, "0"), (50, "5"), (0, "10")]
    assert [name for _, name in drawn["ticks"]] == ["12"]
    assert drawn["bars"][0]["title"] == "9, minted 10"
    assert not drawn["is_empty"]
    assert chart(["1"], (Series("p50", "half", [None]),), show=str)["is_empty"]
