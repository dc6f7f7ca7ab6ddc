"""What other apps know of tokens: they register it here, since tokens import none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.db.models import Exists

from tokens.models import Token

# Given the name of the field that holds a token's id, a condition for a queryset.
Condition = Callable[[str], Exists]


@dataclass(frozen=True)
class Reveals:
    """`in_flight`: a transaction of ours that is open reveals the token.

    `perhaps_revealed`: or may yet do so. One whose transaction was reverted or superseded is among
    these until no reorg reaches that any more: the same bytes may be mined in another block.
    """

    in_flight: Condition
    perhaps_revealed: Condition


_reveals: Reveals | None = None


def register_reveals(found: Reveals) -> None:
    """To be called while apps load (`AppConfig.ready`)."""
    global _reveals
    _reveals = found


def reveals() -> Reveals:
    """Return the conditions; raises RuntimeError if no app has registered them."""
    if _reveals is None:
        raise RuntimeError("No app has registered reveals: is it in INSTALLED_APPS?")
    return _reveals


def in_flight(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that an open transaction of ours reveals."""
    return _those(token_ids, reveals().in_flight)


def perhaps_revealed(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that a transaction of ours reveals, or may yet reveal."""
    return _those(token_ids, reveals().perhaps_revealed)


def _those(token_ids: Iterable[int], condition: Condition) -> set[int]:
    found = Token.objects.filter(condition("pk"), pk__in=list(token_ids))
    return set(found.values_list("pk", flat=True))
