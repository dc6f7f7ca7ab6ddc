"""What the images have cost, and the daily cap on it. Days are UTC days.

A job counts with its reserved price from the moment its row is written, which is before the paid
call; a call that the vendor surely refused counts nothing. So open predictions are in every sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zlib import crc32

from django.conf import settings
from django.db import connection, transaction

from glisk.clock import database_now
from tokens.models import DailySpend
from tokens.models.job import JobService

OPEN_DAYS = 3
# A model that is paid by the second reserves the price of so many until its time is known.
_ASSUMED_SECONDS = 10
_CAP_LOCK = crc32(b"glisk:daily_spend_cap")
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
class Price:
    """US dollars per image or, for models paid by time, per second of `predict_time`."""

    usd: Decimal
    per_second: bool = False

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `0.003` (per image) or `0.000725/s`, as the settings take them."""
        usd, slash, _ = text.partition("/")
        return cls(Decimal(usd), bool(slash))

    @property
    def reserved(self) -> Decimal:
        """Return what one call is taken to cost before its end."""
        return self.usd * _ASSUMED_SECONDS if self.per_second else self.usd

    def of(self, predict_time_seconds: float | None) -> Decimal:
        """Return what one call has cost, a failed one too."""
        if not self.per_second or predict_time_seconds is None:
            return self.reserved
        cost = self.usd * Decimal(str(predict_time_seconds))
        return cost.quantize(Decimal("0.000001"))


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


def price_of(service: str, model: str) -> Price:
    """Return the price of a model by the settings."""
    if service == JobService.SELFHOSTED:
        return Price.parse(settings.SELFHOSTED_PRICE_USD)
    known = settings.REPLICATE_PRICES.get(model)
    return Price.parse(known) if known else Price(Decimal(str(settings.GENERATION_COST_USD)))


def model_of(service: str) -> str:
    """Return the model that a service makes images by."""
    own = service == JobService.SELFHOSTED
    return str(settings.SELFHOSTED_MODEL if own else settings.REPLICATE_MODEL_VERSION)


def cost_of_new_images(number: int) -> Decimal:
    """Return the US dollars that so many images cost at the service that is to make them."""
    service = settings.IMAGE_SERVICE
    return price_of(service, model_of(service)).reserved * number


def spend_totals() -> Spend:
    """Return the sums of today, 7 days, 30 days and all time, by service and model.

    Adds the closed days' rows to one range of the index `generation_job_spend`, so that its cost
    does not grow with the ledger.
    """
    today = _midnight().date()
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
                "open_to": _midnight() + timedelta(days=1),
            },
        )
        return Spend(tuple(SpendLine(*row) for row in cursor.fetchall()), _cap())


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
                "open_to": _midnight() - timedelta(days=OPEN_DAYS - 1),
            },
        )
        return int(cursor.rowcount)


def _open_from() -> datetime:
    """Return when the first day begins that is not closed."""
    last = DailySpend.objects.order_by("-day").values_list("day", flat=True).first()
    first = date(1970, 1, 1) if last is None else last + timedelta(days=1)
    return datetime.combine(first, time.min, tzinfo=UTC)


def spent_today() -> Decimal:
    """Return what the jobs of this UTC day have cost, open ones included."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT COALESCE(sum(cost_usd), 0) FROM image_generation_jobs
                    WHERE created_at >= %(midnight)s AND cost_usd IS NOT NULL)
                 + (SELECT COALESCE(sum(cost_usd), 0) FROM prompt_samples
                    WHERE created_at >= %(midnight)s)
            """,
            {"midnight": _midnight()},
        )
        return Decimal(cursor.fetchone()[0])


def allowed_by_cap(wanted: int, price: Price) -> int:
    """Return how many of these calls may be made today without exceeding the daily cap.

    Must run in the transaction that writes their job rows: until it ends, no other process is
    told a number, so together they never exceed the cap. Without a cap it costs nothing.
    """
    cap = _cap()
    if cap is None or not price.reserved or wanted <= 0:
        return wanted
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CAP_LOCK])
    room = int((cap - spent_today()) / price.reserved)
    return max(0, min(wanted, room))


def seconds_until_midnight() -> float:
    """Return the seconds until the next UTC day."""
    return (_midnight() + timedelta(days=1) - database_now()).total_seconds()


def cap_reason() -> str:
    """Return why the generation is paused by the daily cap, or an empty text if it is not."""
    cap = _cap()
    if cap is None:
        return ""
    price, spent = price_of(settings.IMAGE_SERVICE, model_of(settings.IMAGE_SERVICE)), spent_today()
    if not price.reserved or spent + price.reserved <= cap:
        return ""
    return (
        f"The daily cap of {cap:f} USD is reached: {spent.normalize():f} USD are spent today. It "
        "goes on at 00:00 UTC, or when DAILY_SPEND_CAP_USD is raised."
    )


def _cap() -> Decimal | None:
    return Decimal(str(settings.DAILY_SPEND_CAP_USD)) if settings.DAILY_SPEND_CAP_USD else None


def _midnight() -> datetime:
    return database_now().replace(hour=0, minute=0, second=0, microsecond=0)
