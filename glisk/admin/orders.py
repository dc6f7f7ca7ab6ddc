"""What operators order in the admin: by whom it may be given, what it would do, what it did.

An app declares its orders; glisk.admin.order_views shows them as actions of a list and as buttons
of an object's page, has them confirmed, lets each be given once, and keeps who gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

MOST_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be, with one object (by its key), or why it is left out."""

    key: Any
    done: bool
    message: str


@dataclass(frozen=True)
class Forecast:
    """What an order would do; `cost` is a sentence, empty if nothing is spent."""

    outcomes: Sequence[Outcome]
    cost: str = ""


def _always(subject: Any) -> bool:
    return True


@dataclass(frozen=True)
class Order:
    """One thing that an operator may have done with some objects.

    `run(keys, actor, reason)` does it and answers for every key; it may raise `ProviderError`, or
    `ValueError` with a sentence for the operator. `fits` tells for which objects the button is
    offered on their page; `run` decides for itself all the same.
    """

    name: str
    label: str
    permission: str
    explanation: str
    run: Callable[[Sequence[Any], str, str], Sequence[Outcome]]
    forecast: Callable[[Sequence[Any]], Forecast] | None = None
    reason: Literal["required", "optional", "none"] = "optional"
    icon: str = "bolt"
    dangerous: bool = False
    fits: Callable[[Any], bool] = _always


def ranged(keys: Sequence[Any], *, shown: int = 12) -> str:
    """Return keys for a sentence: `#1, #2, … and 30 more`."""
    text = ", ".join(f"#{key}" for key in keys[:shown])
    return text if len(keys) <= shown else f"{text} and {len(keys) - shown} more"
