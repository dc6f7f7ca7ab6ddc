"""How many tokens there are, by state and by author: as cheap with a million as with ten.

And what their images have cost. A job counts with its reserved price from the moment its row is
written, which is before the paid call; a call that the vendor surely refused counts nothing. So
open predictions are in every sum. Days are UTC days.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zlib import crc32

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.utils import timezone

from authors.figures import AuthorFigures
from glisk.clock import utc_midnight
from tokens.models import MintEvent, Token
from tokens.recovery.progress import load
from tokens.states import ACTIVE, TERMINAL, TokenStatus

# One statement, so that the numbers fit each other.
_COUNTS = """
    SELECT status, count(*), min(status_changed_at) FROM tokens_s0
        WHERE status = ANY(%(active)s) GROUP BY status
    UNION ALL
    SELECT status, count(*), NULL FROM tokens_s0 WHERE status = 'failed' GROUP BY status
    UNION ALL
    SELECT 'all', %(known)s + count(*), NULL FROM tokens_s0 WHERE token_id > %(known)s
"""

OPEN_DAYS = 3
_CLOSING_LOCK = crc32(b"glisk:close_spend_days")
# A call that the vendor surely refused is in the table, but was none.
_DAYS_FROM_JOBS = """
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, service, model,
           count(*) AS predictions, sum(cost_usd) AS cost_usd
    FROM (
        SELECT created_at, service, model, cost_usd FROM image_generation_jobs
        WHERE cost_usd IS NOT NULL
        UNION ALL
        SELECT created_at, service, model, cost_usd FROM prompt_samples
        WHERE cost_usd IS NOT NULL
    ) AS paid
    WHERE created_at < %(open_to)s AND created_at >=
        (SELECT COALESCE(max(day) + 1, '1970-01-01') FROM daily_spend)::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3
"""


@dataclass(frozen=True)  # a named tuple would be a list in JSON
class StateCount:
    """How many tokens are in a state, and since when the one that has been in it longest."""

    status: TokenStatus
    number: int
    oldest_at: datetime | None = None  # of what has not ended


def count_by_state() -> list[StateCount]:
    """Return every state in the order of a token's life; two queries.

    The revealed tokens, which are nearly all of them, are never read: the looks at the chain
    know up to which id every token has a row (tokens.recovery), so that all tokens are counted
    from there on only, and the revealed ones are those that are nothing else.
    """
    known = load()[1].known_below - 1
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"active": [str(status) for status in ACTIVE], "known": known})
        found = {status: (number, oldest) for status, number, oldest in cursor.fetchall()}
    everything = found.pop("all")[0]
    revealed = everything - sum(number for number, _ in found.values())
    found[TokenStatus.REVEALED] = (max(0, revealed), None)
    return [StateCount(status, *found.get(status, (0, None))) for status in TokenStatus]


@dataclass(frozen=True)
class Failures:
    """How many tokens failed by one class in the last day, and the newest of them."""

    error_class: str
    number: int
    newest_id: int


def failures_24h() -> list[Failures]:
    """Return the failed of the last day by class, the most first; one range of `token_ended`."""
    failed = _ended_lately().filter(status=TokenStatus.FAILED).values_list("error_class")
    found = failed.annotate(number=Count("pk"), newest_id=Max("pk"))
    return [Failures(*row) for row in found.order_by("-number", "error_class")]


def error_rate_24h() -> float:
    """Return the failed share of what ended in the last day; 0 if nothing did."""
    found = _ended_lately().aggregate(
        ended=Count("pk"), failed=Count("pk", filter=Q(status=TokenStatus.FAILED))
    )
    return round(found["failed"] / found["ended"], 4) if found["ended"] else 0.0


def _ended_lately() -> QuerySet[Token]:
    day_ago = timezone.now() - timedelta(hours=24)
    return Token.objects.filter(status__in=TERMINAL, status_changed_at__gte=day_ago)


def author_figures(wallets: Iterable[str]) -> dict[str, AuthorFigures]:
    """Return tokens and earnings by the wallet on chain (EIP-55), registered or not."""
    found = (
        MintEvent.objects.filter(prompt_author__in=list(wallets))
        .order_by()
        .values_list("prompt_author")
        .annotate(minted=Sum("quantity"), paid=Sum("total_paid_wei"))
    )
    return {wallet: AuthorFigures(minted, int(paid) // 2) for wallet, minted, paid in found}


class SpendLine(NamedTuple):
    """What one model at one service has cost in US dollars; `predictions` are those of all time.

    The spans are whole UTC days and end with today: 7 days are today and the six before.
    """

    service: str
    model: str
    predictions: int
    today_usd: Decimal
    seven_days_usd: Decimal
    thirty_days_usd: Decimal
    all_time_usd: Decimal


def _sum_of(name: str) -> property:
    return property(lambda spend: sum((getattr(line, name) for line in spend.lines), Decimal(0)))


@dataclass(frozen=True)
class Spend:
    """The whole ledger in sums; `cap_usd` is None without a daily cap."""

    lines: tuple[SpendLine, ...]
    cap_usd: Decimal | None

    today_usd = _sum_of("today_usd")
    seven_days_usd = _sum_of("seven_days_usd")
    thirty_days_usd = _sum_of("thirty_days_usd")
    all_time_usd = _sum_of("all_time_usd")


def spend_totals() -> Spend:
    """Return the sums by service and model.

    Closed days and one range of `generation_job_spend`: its cost does not grow with the ledger.
    """
    today = utc_midnight().date()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH days AS (
                SELECT day, service, model, predictions, cost_usd FROM daily_spend
                UNION ALL
                {_DAYS_FROM_JOBS}
            )
            SELECT service, model, sum(predictions)::bigint,
                   COALESCE(sum(cost_usd) FILTER (WHERE day >= %(today)s), 0),
                   COALESCE(sum(cost_usd) FILTER (WHERE day >= %(week)s), 0),
                   COALESCE(sum(cost_usd) FILTER (WHERE day >= %(month)s), 0),
                   sum(cost_usd)
            FROM days GROUP BY service, model ORDER BY service, model
            """,  # noqa: S608 - a constant
            {
                "today": today,
                "week": today - timedelta(days=6),
                "month": today - timedelta(days=29),
                "open_to": utc_midnight() + timedelta(days=1),
            },
        )
        lines = tuple(SpendLine(*row) for row in cursor.fetchall())
    cap = settings.DAILY_SPEND_CAP_USD
    return Spend(lines, Decimal(str(cap)) if cap else None)


def close_days() -> int:
    """Write the sums of the days that nothing changes any more; return how many rows.

    A day is closed when it is `OPEN_DAYS` old: predictions end within hours.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLOSING_LOCK])
        cursor.execute(
            "INSERT INTO daily_spend (day, service, model, predictions, cost_usd) "
            + _DAYS_FROM_JOBS,
            {
                "open_to": utc_midnight() - timedelta(days=OPEN_DAYS - 1),
            },
        )
        return int(cursor.rowcount)
