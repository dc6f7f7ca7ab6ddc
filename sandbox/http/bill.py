"""Keep account of what a vendor would charge for."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class BillEntry:
    """Describe one charge: what for, when (Unix seconds), how much.

    `key` is equal for two charges that paid for the same thing.
    """

    at: float
    subject: str
    key: str
    price_usd: float = 0.0
    size: int = 0
    detail: dict[str, Any] = field(default_factory=dict)


class Bill:
    """Collect charges, in order."""

    def __init__(self) -> None:
        self._entries: list[BillEntry] = []

    def add(self, entry: BillEntry) -> None:
        """Charge for one thing."""
        self._entries.append(entry)

    @property
    def entries(self) -> list[BillEntry]:
        """Return a copy of all charges."""
        return list(self._entries)

    @property
    def total_usd(self) -> float:
        """Return the sum of the prices."""
        return round(sum(entry.price_usd for entry in self._entries), 6)

    @property
    def total_size(self) -> int:
        """Return the sum of the sizes in bytes."""
        return sum(entry.size for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def groups(self) -> dict[str, int]:
        """Count the charges for each key."""
        return dict(Counter(entry.key for entry in self._entries))

    def duplicates(self) -> dict[str, int]:
        """Return the keys that were charged more than once."""
        return {key: count for key, count in self.groups().items() if count > 1}

    def clear(self) -> None:
        """Forget all charges."""
        self._entries.clear()

    def as_json(self) -> dict[str, Any]:
        """Describe the bill for the control endpoint."""
        return {
            "count": len(self._entries),
            "total_usd": self.total_usd,
            "total_size": self.total_size,
            "groups": self.groups(),
            "duplicates": self.duplicates(),
            "entries": [asdict(entry) for entry in self._entries],
        }
