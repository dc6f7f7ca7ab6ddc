"""What the images cost."""

from dataclasses import dataclass
from decimal import Decimal

from tokens.pipeline.spend import spend_totals


@dataclass(frozen=True)
class SpendFacts:
    """US dollars by UTC days, today included; `cap_usd` is None without a daily cap."""

    today_usd: Decimal
    seven_days_usd: Decimal
    thirty_days_usd: Decimal
    all_time_usd: Decimal
    cap_usd: Decimal | None


def spend_facts() -> SpendFacts:
    """Return the sums over all services and models; two queries."""
    found = spend_totals()
    return SpendFacts(
        today_usd=found.today_usd,
        seven_days_usd=found.seven_days_usd,
        thirty_days_usd=found.thirty_days_usd,
        all_time_usd=found.all_time_usd,
        cap_usd=found.cap_usd,
    )
