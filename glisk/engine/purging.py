"""Delete what nobody needs any more in portions: no long transaction, and no table read through."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

AT_ONCE = 1000
BUDGET_SECONDS = 120.0  # what is left waits for the next hour


def in_portions(
    purge: Callable[[int], int], *, at_once: int = AT_ONCE, budget_seconds: float = BUDGET_SECONDS
) -> int:
    """Call `purge(at_once)`, which returns how many rows it took, until there are no more."""
    began, total, found = time.monotonic(), 0, at_once
    while found == at_once and time.monotonic() - began < budget_seconds:
        found = purge(at_once)
        total += found
    return total


def delete_in_portions(rows: QuerySet[Any], *, at_once: int = AT_ONCE) -> int:
    """Delete these rows, which an index gives in their order; return how many."""

    def delete(limit: int) -> int:
        oldest = rows.values("pk")[:limit]
        return int(rows.model._base_manager.filter(pk__in=oldest).delete()[0])

    return in_portions(delete, at_once=at_once)


def purge_sessions() -> int:
    """Delete the sessions that have expired; return how many."""
    expired = Session.objects.filter(expire_date__lt=timezone.now())
    return delete_in_portions(expired.order_by("expire_date"))
