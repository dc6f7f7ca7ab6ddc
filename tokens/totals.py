"""How many tokens there are, by state and by author: as cheap with a million as with ten.

And what their images have cost. A job counts with its reserved price from the moment its row is
written, which is before the paid call; a call that the vendor surely refused counts nothing. So
open predictions are in every sum. Days are UTC days.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zlib import crc32

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from authors.figures import AuthorFigures
from glisk.clock import utc_midnight
from tokens.models import DailySpend, MintEvent, Token
from tokens.recovery.progress import load
from tokens.states import ACTIVE, TERMINAL, TokenStatus

_ERROR_WINDOW = timedelta(hours=24)
_ALL = "all"

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
        WHERE created_at >= %(open_from)s AND created_at < %(open_to)s AND cost_usd IS NOT NULL
        UNION ALL
        SELECT created_at, service, model, cost_usd FROM prompt_samples
        WHERE created_at >= %(open_from)s AND created_at < %(open_to)s AND cost_usd IS NOT NULL
    ) AS paid
    GROUP BY 1, 2, 3
"""


@dataclass(frozen=True)
class StateCount:
    """How many tokens are in a state, and since when the one that has been in it longest.

    `oldest_at` is None where it means nothing: for what has ended.
    """

    status: TokenStatus
    number: int
    oldest_at: datetime | None = None


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
    everything = found.pop(_ALL)[0]
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
    failed = Token.objects.filter(
        status=TokenStatus.FAILED, status_changed_at__gte=timezone.now() - _ERROR_WINDOW
    )
    found = (
        failed.values("error_class")
        .annotate(number=Count("pk"), newest_id=Max("pk"))
        .order_by("-number", "error_class")
    )
    return [Failures(**row) for row in found]


def error_rate_24h() -> float:
    """Return the failed share of what ended in the last day; 0 if nothing did."""
    ended = Token.objects.filter(
        status__in=TERMINAL, status_changed_at__gte=timezone.now() - _ERROR_WINDOW
    )
    found = ended.aggregate(
        ended=Count("pk"), failed=Count("pk", filter=Q(status=TokenStatus.FAILED))
    )
    return round(found["failed"] / found["ended"], 4) if found["ended"] else 0.0


def author_figures(wallets: Iterable[str]) -> dict[str, AuthorFigures]:
    """Return tokens and earnings of these wallets (EIP-55) by one read of an index.

    Attribution goes by the wallet on chain, registered or not.
    """
    found = (
        MintEvent.objects.filter(prompt_author__in=list(wallets))
        .order_by()
        .values_list("prompt_author")
        .annotate(minted=Sum("quantity"), paid=Sum("total_paid_wei"))
    )
    return {wallet: AuthorFigures(minted, int(paid) // 2) for wallet, minted, paid in found}


@dataclass(frozen=True)
class SpendLine:
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


@dataclass(frozen=True)
class Spend:
    """The whole ledger in sums; `cap_usd` is None without a daily cap."""

    lines: tuple[SpendLine, ...]
    cap_usd: Decimal | None

    @property
    def predictions(self) -> int:
        return sum(line.predictions for line in self.lines)

    @property
    def today_usd(self) -> Decimal:
        return sum((line.today_usd for line in self.lines), Decimal(0))

    @property
    def seven_days_usd(self) -> Decimal:
        return sum((line.seven_days_usd for line in self.lines), Decimal(0))

    @property
    def thirty_days_usd(self) -> Decimal:
        return sum((line.thirty_days_usd for line in self.lines), Decimal(0))

    @property
    def all_time_usd(self) -> Decimal:
        return sum((line.all_time_usd for line in self.lines), Decimal(0))


def spend_totals() -> Spend:
    """Return the sums of today, 7 days, 30 days and all time, by service and model.

    Adds the closed days' rows to one range of the index `generation_job_spend`, so that its cost
    does not grow with the ledger.
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
                "open_from": _open_from(),
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
                "open_from": _open_from(),
                "open_to": utc_midnight() - timedelta(days=OPEN_DAYS - 1),
            },
        )
        return int(cursor.rowcount)


def _open_from() -> datetime:
    """Return when the first day begins that is not closed."""
    last = DailySpend.objects.order_by("-day").values_list("day", flat=True).first()
    first = date(1970, 1, 1) if last is None else last + timedelta(days=1)
    return datetime.combine(first, time.min, tzinfo=UTC)
