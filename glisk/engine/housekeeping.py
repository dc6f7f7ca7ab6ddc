"""The engine's own scheduled tasks, and what apps have done by them.

Apps name what gives leases back, frees those that ran out, and deletes what nobody needs any more:
the engine knows when, only they know which rows.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import Failure

from glisk.engine.broker import forget_lost_queues
from glisk.engine.heartbeat import machine_skew, note_clock, prune_heartbeats
from glisk.engine.schedules import declare

logger = structlog.get_logger(__name__)

AT_ONCE = 1000
BUDGET_SECONDS = 120.0  # what is left waits for the next hour
_KEEP_FAILURES = timedelta(days=7)
# After the end of a lease: what a dead machine held is taken over soon after LEASE_SECONDS.
_RESCUE_SECONDS = 20


def rescue() -> int:
    """Free the leases that ran out, forget processes that are long silent, look at the clock."""
    count = rescue_leases()
    if count:
        logger.warning("leases_rescued", count=count)
    prune_heartbeats()
    note_clock(machine_skew())
    return count


def purge() -> int:
    """Delete old records of failed tasks (django-q2 keeps them for ever), and what apps name."""
    count: int = Failure.objects.filter(stopped__lt=timezone.now() - _KEEP_FAILURES).delete()[0]
    return count + forget_lost_queues() + purge_rows()


def declare_housekeeping() -> None:
    declare("rescue", "glisk.engine.housekeeping.rescue", _RESCUE_SECONDS)
    declare("purge", "glisk.engine.housekeeping.purge", 3600, at_start=False)


_releases: list[Callable[[str], int]] = []
_rescues: list[Callable[[], int]] = []
_purges: list[Callable[[], int]] = []


def register_lease_release(release: Callable[[str], int]) -> None:
    """Have `release(prefix)` called for owners that are dead; it returns how many it released.

    Called by the supervisor after a crash and at its end with its `owner_prefix()`.
    """
    if release not in _releases:
        _releases.append(release)


def register_rescue(rescue: Callable[[], int]) -> None:
    """Have `rescue()` called at the start and every 20 seconds; it frees leases that ran out."""
    if rescue not in _rescues:
        _rescues.append(rescue)


def register_purge(purge: Callable[[], int]) -> None:
    """Have `purge()` called hourly; it deletes rows that nobody needs any more."""
    if purge not in _purges:
        _purges.append(purge)


def release_leases(prefix: str) -> int:
    """Release the leases of all owners that begin with `prefix`; return how many."""
    return sum(release(prefix) for release in _releases)


def rescue_leases() -> int:
    return _sum_guarded("rescue", _rescues)


def purge_rows() -> int:
    return _sum_guarded("purge", _purges)


def _sum_guarded(kind: str, functions: list[Callable[[], int]]) -> int:
    """Call all; one that fails must not keep the others from their work."""
    count = 0
    for function in functions:
        try:
            count += function()
        except Exception:
            logger.exception("housekeeping_failed", kind=kind, function=function.__qualname__)
    return count


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
