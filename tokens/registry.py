"""What other apps know of tokens: they register it here, since tokens import none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.db.models import Exists

from tokens.models import Token

# Given the name of the field that holds a token's id, a condition for a queryset.
Condition = Callable[[str], Exists]

_reveals: dict[str, Condition] = {}


def register_reveals(*, in_flight: Condition, perhaps_revealed: Condition) -> None:
    """To be called while apps load (`AppConfig.ready`).

    `in_flight`: a transaction of ours that is open reveals the token. `perhaps_revealed`: or may
    yet do so. One whose transaction was reverted or superseded is among these until no reorg
    reaches that any more: the same bytes may be mined in another block.
    """
    _reveals.update(in_flight=in_flight, perhaps_revealed=perhaps_revealed)


def in_flight(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that an open transaction of ours reveals."""
    found = Token.objects.filter(_reveals["in_flight"]("pk"), pk__in=list(token_ids))
    return set(found.values_list("pk", flat=True))


def perhaps_revealed(token_ids: Iterable[int]) -> set[int]:
    """Return those of the tokens that a transaction of ours reveals, or may yet reveal."""
    found = Token.objects.filter(is_perhaps_revealed("pk"), pk__in=list(token_ids))
    return set(found.values_list("pk", flat=True))


def is_perhaps_revealed(field: str) -> Exists:
    return _reveals["perhaps_revealed"](field)
