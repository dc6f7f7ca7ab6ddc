"""What one generated image costs, by vendor and model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

_ENTRY = re.compile(r"(?P<usd>\d{1,3}(\.\d{1,6})?)(?P<unit>/s)?")
_PLACES = Decimal("0.000001")

# A model that is paid by the second reserves the price of so many until its time is known.
ASSUMED_SECONDS = 10


@dataclass(frozen=True)
class Price:
    """US dollars per image or, for models paid by time, per second of `predict_time`."""

    usd: Decimal
    per_second: bool = False

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read `0.003` (per image) or `0.000725/s`; raise ValueError otherwise."""
        match = _ENTRY.fullmatch(text.strip())
        if match is None:
            raise ValueError("a price is US dollars, as 0.003 (an image) or 0.000725/s (a second)")
        return cls(Decimal(match["usd"]), match["unit"] is not None)

    @property
    def reserved(self) -> Decimal:
        """Return what one call is taken to cost before its end."""
        return self.usd * ASSUMED_SECONDS if self.per_second else self.usd

    def of(self, predict_time_seconds: float | None) -> Decimal:
        """Return what one call has cost, a failed one too."""
        if not self.per_second or predict_time_seconds is None:
            return self.reserved
        return (self.usd * Decimal(str(predict_time_seconds))).quantize(_PLACES)


def is_price(text: str) -> bool:
    """Tell whether `Price.parse` takes this."""
    return _ENTRY.fullmatch(text.strip()) is not None


def is_price_entry(text: str) -> bool:
    """Tell whether this is `model=price`."""
    model, equals, price = text.rpartition("=")
    return bool(model.strip() and equals) and is_price(price)


def read_price_table(entries: Iterable[str]) -> dict[str, Price]:
    """Return the prices by model of entries `model=price`; raise ValueError for another form."""
    table = {}
    for entry in entries:
        model, _, price = entry.rpartition("=")
        table[model.strip()] = Price.parse(price)
    return table
